"""The results as one SVG: for each scenario its ratio or time, with the spread and the goal.

python -m bench.plot docs/performance.json docs/performance.svg
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any, Final, NamedTuple

__all__ = ["svg"]

WIDTH: Final = 720
ROW: Final = 34
LEFT: Final = 330
RIGHT: Final = 70
STYLE: Final = "text{font:13px sans-serif;fill:#333}.spread{stroke:#888;stroke-width:2}.goal{stroke:#c33}"


class Bar(NamedTuple):
    """A figure, and its goal: not above it, unless `more_is_better`."""

    scenario: str
    figure: str
    text: str
    goal: float
    more_is_better: bool = False


BARS: Final = (
    Bar("1", "cpu_ratio", "(1) CPU an event ÷ floor", 1.8),
    Bar("1", "daemon_us", "(1) CPU an event, µs", 20),
    Bar("2", "documents_ratio", "(2) documents/s ÷ raw import", 0.95, True),
    Bar("3", "documents_ratio", "(3) join: documents/s ÷ raw import", 0.85, True),
    Bar("4", "events_ratio", "(4) hot keys: events/s ÷ raw import", 1, True),
    Bar("6", "documents_ratio", "(6) skewed: documents/s ÷ raw import", 0.95, True),
    Bar("7a", "p50_ms", "(7) latency p50 at 1,000/s, ms", 30),
    Bar("7a", "p99_ms", "(7) latency p99 at 1,000/s, ms", 150),
)


def svg(results: dict[str, Any]) -> str:
    """A bar a figure, scaled so that every goal is at the same place."""
    bars = [bar for bar in BARS if bar.scenario in results]
    height = ROW * len(bars) + 50
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" role="img">',
        f"<title>Measured against the goals</title><style>{STYLE}</style>",
    ]
    for n, bar in enumerate(bars):
        lines += drawn(bar, results[bar.scenario]["summary"][bar.figure], 20 + n * ROW)
    at = LEFT + unit()
    lines.append(f'<line class="goal" x1="{at}" x2="{at}" y1="10" y2="{height - 30}"/>')
    lines.append(f'<text x="{at}" y="{height - 12}" text-anchor="middle">goal</text></svg>')
    return "\n".join(lines) + "\n"


def unit() -> float:
    """Pixels of a goal."""
    return (WIDTH - LEFT - RIGHT) / 2


def drawn(bar: Bar, figure: dict[str, float], y: int) -> Iterator[str]:
    """One bar, its spread and its number."""
    scale = unit() / bar.goal
    ends = {name: min(value * scale, unit() * 2) for name, value in figure.items()}
    is_met = figure["median"] >= bar.goal if bar.more_is_better else figure["median"] <= bar.goal
    sign = "≥" if bar.more_is_better else "≤"
    text = escape(f"{bar.text} ({sign} {bar.goal:g})")
    yield f'<text x="{LEFT - 8}" y="{y + 14}" text-anchor="end">{text}</text>'
    colour = "#4a8" if is_met else "#d95"
    yield f'<rect x="{LEFT}" y="{y}" width="{ends["median"]:.0f}" height="20" fill="{colour}"/>'
    x1, x2 = LEFT + ends["least"], LEFT + ends["most"]
    yield f'<line class="spread" x1="{x1:.0f}" x2="{x2:.0f}" y1="{y + 10}" y2="{y + 10}"/>'
    yield f'<text x="{max(x2, LEFT + ends["median"]) + 6:.0f}" y="{y + 14}">{figure["median"]:.3g}</text>'


if __name__ == "__main__":
    found = json.loads(Path(sys.argv[1]).read_text())
    Path(sys.argv[2]).write_text(svg(found["results"]))
