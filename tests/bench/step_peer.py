"""The training step in PyTorch, to compare with: the production shape, plainly and well written.

Answers every line `N` on standard input with one line of JSON about N steps: `steps`, the milliseconds of each, and
`parts`, the medians of forward, backward and optimizer. Started by compare_steps.py.
"""

import argparse
import json
import statistics
import sys
import time

import torch
from torch import nn

CONTINUOUS, BINARY, EMBEDDINGS, EMBEDDING, TASKS = 2117, 59, 3, 200, 10


class DoubleNormLog(nn.Module):
    def __init__(self):
        super().__init__()
        self.batch_norm = nn.BatchNorm1d(CONTINUOUS, momentum=0.01)
        self.layer_norm = nn.LayerNorm(CONTINUOUS + BINARY, eps=0.0)

    def forward(self, continuous, binary):
        x = torch.nan_to_num(continuous, nan=0.0, posinf=0.0, neginf=0.0)
        x = torch.sign(x) * torch.log1p(torch.abs(x))
        x = torch.clamp(self.batch_norm(x), -5.0, 5.0)
        return self.layer_norm(torch.cat([x, binary], dim=1))


class MaskBlock(nn.Module):
    def __init__(self, width, hidden, output):
        super().__init__()
        self.mask = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width))
        self.hidden = nn.Linear(width, output)
        self.norm = nn.LayerNorm(output)

    def forward(self, x):
        return self.norm(self.hidden(x * self.mask(x)))


def tower(dropout):
    drop = [nn.Dropout(dropout)] if dropout else []
    return nn.Sequential(
        nn.Linear(2048, 256), nn.BatchNorm1d(256, affine=False), nn.ReLU(), *drop,
        nn.Linear(256, 128), nn.BatchNorm1d(128, affine=False), nn.ReLU(), *drop,
        nn.Linear(128, 1),
    )


class Ranker(nn.Module):
    def __init__(self):
        super().__init__()
        width = CONTINUOUS + BINARY + EMBEDDINGS * EMBEDDING
        self.features = DoubleNormLog()
        self.embedding_norms = nn.ModuleList(nn.LayerNorm(EMBEDDING) for _ in range(EMBEDDINGS))
        self.blocks = nn.ModuleList(MaskBlock(width, 1024, 1024) for _ in range(4))
        self.top = nn.Linear(4096, 2048)
        self.towers = nn.ModuleList(tower({3: 0.1, 7: 0.2}.get(task, 0.0)) for task in range(TASKS))

    def forward(self, continuous, binary, embeddings):
        normed = [norm(embedding) for norm, embedding in zip(self.embedding_norms, embeddings)]
        x = torch.cat([self.features(continuous, binary), *normed], dim=1)
        x = torch.relu(self.top(torch.cat([block(x) for block in self.blocks], dim=1)))
        return torch.cat([tower(x) for tower in self.towers], dim=1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--compile", default="", help="a mode of torch.compile; nothing: eager")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--fused", action="store_true", help="the fused Adam, which PyTorch takes only when asked")
    args = parser.parse_args()

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.manual_seed(0)
    model = Ranker().to(device).train()
    forward = torch.compile(model, mode=args.compile) if args.compile else model
    # One group a task and one for the rest, as the trainer has.
    groups = [{"params": list(tower.parameters())} for tower in model.towers]
    in_towers = {id(p) for group in groups for p in group["params"]}
    groups.append({"params": [p for p in model.parameters() if id(p) not in in_towers]})
    optimizer = torch.optim.Adam(groups, lr=1e-4, betas=(0.95, 0.999), eps=1e-7, fused=args.fused or None)

    batch = args.batch
    continuous = torch.randn(batch, CONTINUOUS, device=device)
    binary = torch.randint(0, 2, (batch, BINARY), device=device).float()
    embeddings = [torch.randn(batch, EMBEDDING, device=device) for _ in range(EMBEDDINGS)]
    labels = torch.randint(0, 2, (batch, TASKS), device=device).float()

    def now(wait):
        if wait and device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def step(wait):
        begin = now(wait)
        with torch.autocast(device, torch.bfloat16, enabled=args.bf16):
            logits = forward(continuous, binary, embeddings)
        losses = nn.functional.binary_cross_entropy_with_logits(logits.float(), labels, reduction="none").mean(0)
        loss = losses.mean()
        middle = now(wait)
        loss.backward()
        end = now(wait)
        optimizer.step()
        optimizer.zero_grad()
        return [1e3 * (middle - begin), 1e3 * (end - middle), 1e3 * (now(wait) - end)]

    for line in sys.stdin:
        begin, count = now(True), int(line)
        parts = [step(False) for _ in range(count)]
        steps = [sum(part) for part in parts]
        if device == "cuda":
            # As in training nobody waits between steps; the parts come from one more step that does.
            steps = [1e3 * (now(True) - begin) / count] * count
            parts = [step(True)]
        parts = [statistics.median(part) for part in zip(*parts)]
        print(json.dumps({"steps": steps, "parts": parts}), flush=True)


if __name__ == "__main__":
    main()
