"""Draws what TensorBoard's own reader finds of a run: the loss, and the AUROC of every task on every partition.

    python draw_curves.py SAVE_DIR/tensorboard FILE.svg
"""

import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

WIDTH, HEIGHT, MARGIN, GAP = 860, 270, 44, 36
COLOURS = "#4e79a7 #f28e2b #e15759 #76b7b2 #59a14f #b6992d #b07aa1 #ff9da7 #9c755f #79706e".split()


def panel(left, title, curves):
    """One diagram with its axes; `curves` are lists of (step, value)."""
    width, height = (WIDTH - 2 * MARGIN - GAP) / 2, HEIGHT - 2 * MARGIN
    steps = [step for points in curves for step, _ in points]
    values = [value for points in curves for _, value in points]
    low, high, last = min(values), max(values), max(steps)

    def place(step, value):
        return f"{left + width * step / last:.1f},{MARGIN + height * (high - value) / (high - low):.1f}"

    yield f'<text x="{left}" y="{MARGIN - 14}" font-weight="bold">{title}</text>'
    for part in range(5):
        value = low + (high - low) * part / 4
        y = MARGIN + height * (1 - part / 4)
        yield f'<path d="M{left},{y:.1f}h{width:.1f}" stroke="#ddd"/>'
        yield f'<text x="{left - 5}" y="{y + 4:.1f}" text-anchor="end">{value:.2f}</text>'
        x = left + width * part / 4
        yield f'<text x="{x:.1f}" y="{MARGIN + height + 16}" text-anchor="middle">{last * part // 4}</text>'
    for colour, points in zip(COLOURS * 9, curves):
        line = " ".join(place(*point) for point in points)
        yield f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.6"/>'


def main():
    events = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0})
    events.Reload()
    tags = events.Tags()["scalars"]
    curve = {tag: [(point.step, point.value) for point in events.Scalars(tag)] for tag in tags}
    aurocs = [curve[tag] for tag in tags if tag.endswith("/auroc")]
    right = MARGIN + (WIDTH - 2 * MARGIN - GAP) / 2 + GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="11">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        *panel(MARGIN, "loss, by step", [curve["loss"]]),
        *panel(right, f"AUROC of {len(aurocs)} tasks on held-out data, by step", aurocs),
        "</svg>\n",
    ]
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        file.write("\n".join(parts))


main()
