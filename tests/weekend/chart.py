"""Draws what tests/weekend has measured: `python3 -m tests.weekend.chart build/weekend/samples.json weekend.svg`."""

import json
import math
import sys
from pathlib import Path

WIDTH, HEIGHT, LEFT, TOP, GAP = 1100, 120, 90, 40, 45
COLOURS = ("#1b6ca8", "#c0392b", "#7d3c98")
MIB = 1 << 20

Series = list[tuple[float, float]]


def draw(written: dict, to: Path) -> None:
    samples, crashes = written["samples"], written["crashes"]
    end = max([row["at"] for row in samples], default=1)
    latency = {name: [((int(minute) + 0.5) * 60, row[name]) for minute, row in written["latency_ms"].items()]
               for name in ("p50", "p99", "p99.9")}
    panels = [("acknowledged, MB/s (10 s)", {"": rates(samples, "acknowledged_bytes", 1e6)}, False),
              ("produce latency by minute, ms, logarithmic", latency, True),
              ("resident memory, MiB", {"": of(samples, "rss", MIB)}, False),
              ("open files", {"": of(samples, "open_files")}, False),
              ("files on the drive", {"": of(samples, "files")}, False),
              ("segments of the log", {"": [(row["at"], row["metrics"].get("penstock_segments", 0)) for row in samples]},
               False)]
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH + LEFT + 30}" '
             f'height="{TOP + len(panels) * (HEIGHT + GAP)}" font-family="sans-serif" font-size="11">',
             '<rect width="100%" height="100%" fill="white"/>',
             f'<text x="{LEFT}" y="18" font-size="14">{written["minutes"]:g} minutes, seed {written["seed"]}, '
             f'{len(crashes)} crashes (grey)</text>']
    for number, (title, lines, logarithmic) in enumerate(panels):
        parts += panel(title, lines, logarithmic, TOP + number * (HEIGHT + GAP), end, crashes)
    to.write_text("\n".join(parts + ["</svg>"]))


def of(samples: list[dict], key: str, unit: float = 1) -> Series:
    return [(row["at"], row[key] / unit) for row in samples]


def rates(samples: list[dict], key: str, unit: float) -> Series:
    """Over 10 s."""
    points = [(row["at"], row["load"][key]) for row in samples if key in row["load"]]
    return [(x1, (y1 - y0) / (x1 - x0) / unit) for (x0, y0), (x1, y1) in zip(points, points[10:]) if x1 > x0]


def panel(title: str, lines: dict[str, Series], logarithmic: bool, top: float, end: float, crashes: list[float]) -> list[str]:
    scale = (lambda y: math.log10(max(y, 0.1))) if logarithmic else (lambda y: y)
    values = [scale(y) for line in lines.values() for _, y in line] or [0, 1]
    low, high = (min(values), max(values)) if logarithmic else (0, max(values) * 1.1)
    span = high - low or 1

    def place(x: float, y: float) -> str:
        return f"{LEFT + x / end * WIDTH:.1f},{top + HEIGHT - (scale(y) - low) / span * HEIGHT:.1f}"

    shown = (lambda v: f"{10 ** v:.3g}") if logarithmic else (lambda v: f"{v:.4g}")
    parts = [f'<text x="{LEFT}" y="{top - 5}">{title}</text>',
             f'<text x="{LEFT - 5}" y="{top + 9}" text-anchor="end">{shown(high)}</text>',
             f'<text x="{LEFT - 5}" y="{top + HEIGHT}" text-anchor="end">{shown(low)}</text>']
    parts += [f'<line x1="{LEFT + x / end * WIDTH:.1f}" x2="{LEFT + x / end * WIDTH:.1f}" y1="{top}" y2="{top + HEIGHT}" '
              'stroke="#ddd"/>' for x in crashes]
    parts.append(f'<rect x="{LEFT}" y="{top}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#999"/>')
    minutes = max(1, round(end / 60 / 12))
    for minute in range(0, int(end // 60) + 1, minutes):
        parts.append(f'<text x="{LEFT + minute * 60 / end * WIDTH:.1f}" y="{top + HEIGHT + 13}">{minute} min</text>')
    for number, (name, line) in enumerate(lines.items()):
        points = " ".join(place(x, y) for x, y in line)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{COLOURS[number]}" stroke-width="1.2"/>')
        if name:
            parts.append(f'<text x="{LEFT + WIDTH - 150 + 50 * number}" y="{top - 5}" fill="{COLOURS[number]}">{name}</text>')
    return parts


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
