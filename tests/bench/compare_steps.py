"""Runs our step and the PyTorch peers in turn, in one run on one machine, and prints medians and ratios as Markdown.

    python3 compare_steps.py --step-bench PATH --python PYTHON [--batch 128 1024] [--precision f32 bf16] [--rounds N]
        [--variant=NAME=VALUE] [--variant=--option]

Every contestant is a process of its own that stays up and makes a few steps when asked, so that what else the machine
does hits all of them alike. A ratio is the median over rounds of (ours / theirs) within one round.

The floor is what no step can be faster than on this machine: every matrix product of the step (each Linear layer's
output, weight gradient and input gradient) as plain calls on memory that is there already, once with each library that
libtorch has for them; and, as its optimizer, plain copies that read and write what Adam must (28 bytes a parameter).
The products' time over the step's is its share of the GEMM ceiling: 1 would be a step that does nothing else.

From the start of a process to the end of its first step is timed twice: cold, when its files may have to be read from
disk, and again afterwards.

A variant is our step once more with a variable of the environment or an option of the bench changed, to try a setting.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
# Linear layers of the production shape, as (inputs, outputs, how many): first half of the mask, second half and hidden
# layer of four blocks; the layer above them; ten towers.
LINEAR = [
    (2776, 1024, 4), (1024, 2776, 4), (2776, 1024, 4), (4096, 2048, 1), (2048, 256, 10), (256, 128, 10), (128, 1, 10)
]
# What Adam reads and writes of 48,115,108 parameters: four numbers and three.
UPDATE_BYTES = 48_115_108 * 7 * 4
# How often the start is timed again.
STARTS = 3
FLOP_PER_ROW = 3 * 2 * sum(inputs * outputs * count for inputs, outputs, count in LINEAR)


class Contestant:
    def __init__(self, name, command, environment=None):
        self.name, self.rounds, self.parts = name, [], []
        self.command, self.environment = command, {**os.environ, **(environment or {})}
        self.starts = []
        self.start()
        self.ask(2)

    def start(self):
        begin = time.perf_counter()
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=self.environment)
        self.ask(1)
        self.starts.append(time.perf_counter() - begin)

    def stop(self):
        self.process.stdin.close()
        self.process.wait()

    def ask(self, steps):
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"{self.name} ended early with status {self.process.wait()}")
        return json.loads(answer)

    def round(self, steps):
        answer = self.ask(steps)
        self.rounds.append(statistics.median(answer["steps"]))
        self.parts.append(answer["parts"])

    def close(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            peak = next(line.split()[1] for line in status if line.startswith("VmHWM"))
        self.peak_mb = int(peak) / 1024
        self.gpu_mb = gpu_mb(self.process.pid)
        self.stop()

    def part(self, index):
        return statistics.median(parts[index] for parts in self.parts)


def gpu_mb(pid):
    """What the driver says the process holds; nothing where there is no GPU or the driver cannot tell."""
    query = ["nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"]
    try:
        lines = subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        return None
    of_process = [line.split(",")[1] for line in lines if line.split(",")[0].strip() == str(pid)]
    return float(of_process[0]) if of_process and of_process[0].strip().isdigit() else None


def variant(text, command):
    if text.startswith("-"):
        return Contestant(f"recap-train {text}", [*command, text])
    name, value = text.split("=", 1)
    return Contestant(f"recap-train {text}", command, {name: value})


def compare(args, batch, precision):
    options = ["--batch", str(batch)] + (["--bf16"] if precision == "bf16" else [])
    ours_command = [args.step_bench, *options]
    peer = [args.python, os.path.join(HERE, "step_peer.py"), *options]
    ours = Contestant("recap-train", ours_command)
    peers = [Contestant("PyTorch eager", peer)]
    peers += [Contestant(f"PyTorch compile ({mode})", [*peer, f"--compile={mode}"]) for mode in args.compile_modes]
    libraries = ["mkl", "onednn"] if precision == "f32" and not args.gpu else ["mkl"]
    names = {"mkl": "floor, MKL", "onednn": "floor, oneDNN"}
    if len(libraries) == 1:
        names["mkl"] = "floor"
    floors = [
        Contestant(names[library], [*ours_command, "--floor", f"--linear={library}"]) for library in libraries
    ]
    variants = [variant(text, ours_command) for text in args.variant if precision == "f32"]
    contestants = [ours, *peers, *variants, *floors]
    for _ in range(args.rounds):
        for contestant in contestants:
            contestant.round(args.steps)
    for contestant in contestants:
        contestant.close()
    # Once more when everything has been read from disk; what compiles takes minutes and is started once.
    for _ in range(STARTS):
        for contestant in [ours, peers[0]]:
            contestant.start()
            contestant.stop()
    show(args, batch, precision, contestants, floors)


def show(args, batch, precision, contestants, floors):
    ours = contestants[0]
    memory = "GPU MB" if args.gpu else "peak RSS MB"
    print(f"\nbatch {batch:,}, {precision}, median of {args.rounds} rounds of {args.steps} steps\n")
    print(f"| | step ms (min – max) | forward / backward / optimizer ms | examples/s | ours / theirs | first step s: cold, again | {memory} |")
    print("|---|---|---|---|---|---|---|")
    for contestant in contestants:
        times = contestant.rounds
        ratio = statistics.median(a / b for a, b in zip(ours.rounds, times))
        parts = " / ".join(f"{contestant.part(i):{'.2f' if args.gpu else '.0f'}}" for i in range(3))
        spread = [statistics.median(times), min(times), max(times)]
        step, low, high = (f"{ms:{'.2f' if args.gpu else '.0f'}}" for ms in spread)
        held = contestant.gpu_mb if args.gpu else contestant.peak_mb
        print(
            f"| {contestant.name} | {step} ({low} – {high}) | {parts} | {1e3 * batch / spread[0]:,.0f} | {ratio:.2f} "
            f"| {starts(contestant)} | {'–' if held is None else f'{held:.0f}'} |"
        )
    floor = min(floors, key=lambda contestant: statistics.median(contestant.rounds))
    products, step_ms = floor.part(0) + floor.part(1), statistics.median(ours.rounds)
    share = statistics.median((floor.parts[i][0] + floor.parts[i][1]) / ours.rounds[i] for i in range(args.rounds))
    rate = batch * FLOP_PER_ROW / products / 1e9
    unit = f"{rate:,.0f} TFLOP/s" if rate >= 10 else f"{1e3 * rate:,.0f} GFLOP/s"
    print(
        f"\nstep {step_ms:.1f} ms = products {products:.1f} ms ({floor.name}, {unit}) + memory of the update "
        f"{floor.part(2):.1f} ms ({UPDATE_BYTES / floor.part(2) / 1e6:.0f} GB/s) + rest "
        f"{step_ms - products - floor.part(2):.1f} ms; share of the GEMM ceiling {share:.2f}"
    )
    peers = [contestant for contestant in contestants if contestant.name.startswith("PyTorch")]
    against = (
        f"{statistics.median(a / b for a, b in zip(floor.rounds, peer.rounds)):.2f} of {peer.name}" for peer in peers)
    print(f"the floor itself is {' and '.join(against)}")
    again, eager = (statistics.median(contestant.starts[1:]) for contestant in (ours, peers[0]))
    least = loading(args) + step_ms / 1e3
    print(
        f"start to first step {again:.2f} s, {again / eager:.2f} of {peers[0].name}; loading libtorch and one step take "
        f"{least:.2f} s, {least / eager:.2f} of it",
        flush=True,
    )


def starts(contestant):
    if contestant.name.startswith("floor"):
        return "–"
    first, *again = contestant.starts
    return f"{first:.1f}, {statistics.median(again):.1f}" if again else f"{first:.1f}"


def loading(args):
    """Seconds that our program takes to load libtorch: without a batch size the bench ends right after that."""
    times = []
    for _ in range(STARTS):
        begin = time.perf_counter()
        subprocess.run([args.step_bench], check=True)
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--step-bench", required=True)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--batch", type=int, nargs="+", default=[128, 1024])
    parser.add_argument("--precision", nargs="+", choices=["f32", "bf16"], default=["f32", "bf16"])
    parser.add_argument("--compile-modes", nargs="*", default=["default"])
    parser.add_argument("--variant", action="append", default=[])
    parser.add_argument("--gpu", action="store_true", help="the machine has one: GPU memory, finer times, TF32 for f32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3)
    args = parser.parse_args()
    for precision in args.precision:
        for batch in args.batch:
            compare(args, batch, precision)


if __name__ == "__main__":
    main()
