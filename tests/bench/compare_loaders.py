"""Runs our loader, the bytes alone and tf.data in turn over the same files, and prints medians and ratios as Markdown.

    python3 compare_loaders.py --loader-bench PATH --program PATH --python PYTHON [--batch 1024 128] [--rounds N]

Needs a Python with tensorflow for the peer (`pip install tensorflow`). Every contestant is a process of its own that
stays up, is stopped between its turns and makes batches when asked, so that what else the machine does hits all of them
alike. Batches that were
ready before the question are taken first and not counted. A ratio is the median over rounds of (ours / theirs) within
one round.
"""

import argparse
import glob
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
# Examples that are taken before the clock starts: more than any contestant has ready.
READY = 6144


class Contestant:
    def __init__(self, name, command, batch, warm_up):
        self.name, self.batch, self.rounds = name, batch, []
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ask(warm_up)
        self.process.send_signal(signal.SIGSTOP)

    def ask(self, examples):
        self.process.stdin.write(f"{-(-examples // self.batch)}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"{self.name} ended early with status {self.process.wait()}")
        return json.loads(answer)

    def round(self, examples):
        self.process.send_signal(signal.SIGCONT)
        self.ask(READY)
        answer = self.ask(examples)
        # Whoever waits for its turn must not fill its buffers meanwhile: tf.data would go on for seconds.
        self.process.send_signal(signal.SIGSTOP)
        self.rounds.append(answer["examples"] / answer["seconds"])
        self.cpu_ms = 1e3 * answer["cpu_seconds"] / answer["examples"]
        self.mb = answer.get("bytes", 0) / answer["seconds"] / 1e6

    def close(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            lines = dict(line.split(":", 1) for line in status)
        self.peak_mb = int(lines["VmHWM"].split()[0]) / 1024
        self.process.stdin.close()
        self.process.kill()
        self.process.wait()


def generate(args, folder, compression):
    """The files, made once and kept: they depend on nothing but the options."""
    folder = os.path.join(folder, f"{compression}-{args.files}-{args.examples}")
    if not glob.glob(os.path.join(folder, "random-*")):
        subprocess.run(
            [args.program, "--config_path=" + os.path.join(ROOT, "configs/local_prod.yaml"), "--set",
             "train_data.seg_dense_schema.schema_path=" + os.path.join(ROOT, "configs/home_recap_2022.segdense.json"),
             "generate", f"--n_examples={args.examples}", f"--n_files={args.files}",
             f"--output_dir={folder}", f"--compression={compression}"],
            check=True, stdout=subprocess.DEVNULL)
    return os.path.join(folder, "random-*")


def compare(args, title, inputs, compression, batch, cache=False):
    ours = [args.loader_bench, f"--inputs={inputs}", f"--batch={batch}"]
    peer = [args.python, os.path.join(HERE, "loader_peer.py"), f"--inputs={inputs}", f"--batch={batch}",
            f"--compression={compression}"]
    # A cache is full after an epoch.
    warm_up = 2 * args.examples if cache else args.examples // 2
    with tempfile.TemporaryDirectory() as folder:
        if cache:
            rows = ours + ["--cache", f"--cache-dir={folder}"]
            contestants = [
                Contestant("recap-train, rows in memory", ours + ["--cache"], batch, warm_up),
                Contestant("recap-train, rows on disk", rows, batch, warm_up),
                Contestant("tf.data, reading the files", peer, batch, args.examples // 2),
                Contestant("tf.data, cache in memory", peer + ["--cache"], batch, warm_up),
            ]
        else:
            contestants = [
                Contestant("recap-train", ours, batch, warm_up),
                Contestant("the bytes alone", ours + ["--inflate"], batch, warm_up),
                Contestant("tf.data", peer, batch, warm_up),
            ]
        race(args, title, contestants)


def race(args, title, contestants):
    batch = contestants[0].batch
    for _ in range(args.rounds):
        for contestant in contestants:
            contestant.round(args.per_round)
    for contestant in contestants:
        contestant.close()
    first = contestants[0]
    print(f"\n{title}, batch {batch}, median of {args.rounds} rounds of {args.per_round} examples\n")
    print("| | examples/s (min – max) | CPU ms/example | MB/s | ours / theirs | peak RSS MB | ours / theirs |")
    print("|---|---|---|---|---|---|---|")
    for contestant in contestants:
        rates = contestant.rounds
        ratio = statistics.median(a / b for a, b in zip(first.rounds, rates))
        print(
            f"| {contestant.name} | {statistics.median(rates):,.0f} ({min(rates):,.0f} – {max(rates):,.0f}) "
            f"| {contestant.cpu_ms:.4f} | {contestant.mb:.0f} | {ratio:.2f} | {contestant.peak_mb:.0f} "
            f"| {first.peak_mb / contestant.peak_mb:.2f} |", flush=True
        )


def grow(args, inputs, batch):
    """What an example costs with other columns, files and threads: CPU and time, one thing changed at a time."""
    ours = [args.loader_bench, f"--inputs={inputs}", f"--batch={batch}"]
    variants = [
        ("as above", []),
        ("100 of 6,000 continuous columns", ["--columns=100"]),
        ("6,000 of 6,000", ["--columns=6000"]),
        ("1 file", ["--files=1"]),
        ("2 files", ["--files=2"]),
        ("1 thread", ["--threads=1"]),
    ]
    contestants = [Contestant(name, ours + flags, batch, args.examples // 2) for name, flags in variants]
    race(args, f"how the cost grows: {os.path.basename(os.path.dirname(inputs))}", contestants)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--loader-bench", required=True)
    parser.add_argument("--program", required=True, help="recap-train, to generate the files with")
    parser.add_argument("--python", default=sys.executable, help="a Python that has tensorflow")
    parser.add_argument("--folder", default=os.path.join(tempfile.gettempdir(), "recap-train-bench"))
    parser.add_argument("--batch", type=int, nargs="+", default=[1024])
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--examples", type=int, default=8192)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--per-round", type=int, default=16384)
    parser.add_argument("--only", nargs="+", default=["gzip", "none", "cache", "grow"])
    args = parser.parse_args()
    for batch in args.batch:
        if "gzip" in args.only:
            compare(args, f"gzip, {args.files} files", generate(args, args.folder, "gzip"), "GZIP", batch)
        if "none" in args.only:
            compare(args, f"uncompressed, {args.files} files", generate(args, args.folder, "none"), "", batch)
        if "cache" in args.only:
            inputs = generate(args, args.folder, "gzip")
            compare(args, f"cached, {args.files} gzip files, later epochs", inputs, "GZIP", batch, cache=True)
    if "grow" in args.only:
        for compression in ["gzip", "none"]:
            grow(args, generate(args, args.folder, compression), args.batch[0])


if __name__ == "__main__":
    main()
