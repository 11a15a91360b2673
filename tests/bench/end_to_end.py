"""Trains with the whole program on generated files, and says who waits for whom, as Markdown.

    python3 end_to_end.py --program PATH [--batch 128 1024] [--compression gzip none] [--steps N]

The rate and the share of time that the loop waited for data are those of the program's own log lines, the first left
out. `start` is from the start of the process to its first finished step.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
CONFIG = "--config_path=" + os.path.join(ROOT, "configs/local_prod.yaml")
SCHEMA = "train_data.seg_dense_schema.schema_path=" + os.path.join(ROOT, "configs/home_recap_2022.segdense.json")


def files(args, compression):
    """Made once and kept, beside those of the loader's comparison."""
    folder = os.path.join(args.folder, f"{compression}-{args.files}-{args.examples}")
    if not os.path.isdir(folder):
        subprocess.run(
            [args.program, CONFIG, "--set", SCHEMA, "generate", f"--n_examples={args.examples}",
             f"--n_files={args.files}", f"--output_dir={folder}", f"--compression={compression}"],
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return os.path.join(folder, "random-*")


def field(line, name):
    """A number of a log line, whether in the fields of the record or beside them."""
    record = json.loads(line)
    found = record.get("fields", record).get(name)
    return None if found is None else float(found)


def train(args, batch, compression, cache):
    inputs = files(args, compression)
    with tempfile.TemporaryDirectory() as folder:
        values = [
            SCHEMA, f"train_data.inputs={inputs}", f"train_data.global_batch_size={batch}",
            f"train_data.cache={str(cache).lower()}", f"training.save_dir={folder}/run",
            f"training.num_train_steps={args.steps}", "training.checkpoint_every_n=1000000",
            "training.train_log_every_n=1",
        ]
        command = [args.program, CONFIG, "--log_format=json", *(part for value in values for part in ("--set", value))]
        begin = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        start, rates, waits, log = None, [], [], []
        for line in process.stderr:
            log.append(line)
            if not line.startswith("{") or not re.search(r"Step: \d+, training", line):
                continue
            start = start or time.perf_counter() - begin
            rates.append(field(line, "global_example_per_s"))
            waits.append(field(line, "data_wait_share"))
        if process.wait() != 0 or len(rates) < 3:
            sys.exit("".join(log[-20:]) + f"\nthe program ended with status {process.returncode}")
    # The first batches were made while the model was built: what is left says what lasts.
    skip = len(rates) // 3
    rates, waits = rates[skip:], waits[skip:]
    return start, statistics.median(rates), min(rates), max(rates), statistics.mean(waits)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    parser.add_argument("--folder", default=os.path.join(tempfile.gettempdir(), "recap-train-bench"))
    parser.add_argument("--batch", type=int, nargs="+", default=[128, 1024])
    parser.add_argument("--compression", nargs="+", default=["gzip", "none", "cached"])
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--examples", type=int, default=8192)
    parser.add_argument("--steps", type=int, default=18)
    args = parser.parse_args()
    print("\nthe whole program on generated files\n")
    print("| files | batch | examples/s (min – max) | waiting for data | limit | start s |")
    print("|---|---|---|---|---|---|")
    for compression in args.compression:
        for batch in args.batch:
            cached = compression == "cached"
            start, rate, low, high, wait = train(args, batch, "gzip" if cached else compression, cached)
            limit = "data" if wait > 0.2 else "compute"
            print(
                f"| {compression} | {batch:,} | {rate:,.0f} ({low:,.0f} – {high:,.0f}) | {wait:.0%} | {limit} "
                f"| {start:.1f} |", flush=True
            )


if __name__ == "__main__":
    main()
