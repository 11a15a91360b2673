"""Runs our step and the PyTorch peers in turn, in one run on one machine, and prints medians and ratios as Markdown.

    python3 compare_steps.py --step-bench PATH --python PYTHON [--batch 128 1024] [--bf16] [--rounds N]

Every contestant is a process of its own that stays up and makes a few steps when asked, so that what else the machine
does hits all of them alike. A ratio is the median over rounds of (ours / theirs) within one round.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))


class Contestant:
    def __init__(self, name, command):
        self.name = name
        self.rounds = []
        begin = time.perf_counter()
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ask(1)
        self.first_step_seconds = time.perf_counter() - begin
        self.ask(2)

    def ask(self, steps):
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"{self.name} ended early with status {self.process.wait()}")
        return json.loads(answer)

    def round(self, steps):
        times = self.ask(steps)
        self.rounds.append(statistics.median(sum(step) for step in times))
        self.parts = [statistics.median(part) for part in zip(*times)]

    def close(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            peak = next(line.split()[1] for line in status if line.startswith("VmHWM"))
        self.peak_mb = int(peak) / 1024
        self.process.stdin.close()
        self.process.wait()


def compare(args, batch):
    options = ["--batch", str(batch)] + (["--bf16"] if args.bf16 else [])
    peer = [args.python, os.path.join(HERE, "step_peer.py"), *options]
    contestants = [
        Contestant("recap-train", [args.step_bench, *options]),
        Contestant("PyTorch eager", peer),
        Contestant("PyTorch compile", [*peer, f"--compile={args.compile_mode}"]),
    ]
    for _ in range(args.rounds):
        for contestant in contestants:
            contestant.round(args.steps)
    for contestant in contestants:
        contestant.close()
    ours = contestants[0]
    precision = "bf16" if args.bf16 else "f32"
    print(f"\nbatch {batch}, {precision}, median of {args.rounds} rounds of {args.steps} steps\n")
    print("| | step ms (min – max) | forward / backward / optimizer ms | ours / theirs | first step s | peak RSS MB |")
    print("|---|---|---|---|---|---|")
    for contestant in contestants:
        times = contestant.rounds
        ratio = statistics.median(a / b for a, b in zip(ours.rounds, times))
        parts = " / ".join(f"{part:.0f}" for part in contestant.parts)
        print(
            f"| {contestant.name} | {statistics.median(times):.0f} ({min(times):.0f} – {max(times):.0f}) | {parts} "
            f"| {ratio:.2f} | {contestant.first_step_seconds:.1f} | {contestant.peak_mb:.0f} |"
        )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--step-bench", required=True)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--batch", type=int, nargs="+", default=[128, 1024])
    parser.add_argument("--compile-mode", default="default")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3)
    args = parser.parse_args()
    for batch in args.batch:
        compare(args, batch)


if __name__ == "__main__":
    main()
