"""Runs to medians and spreads: a JSON file, and tables for people."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from bench.scenarios import SCENARIOS, Figures

__all__ = ["shown", "summary", "table"]


def summary(runs: Sequence[Figures]) -> dict[str, dict[str, float]]:
    """Median, least and most of each figure."""
    return {
        name: {
            "median": statistics.median(run[name] for run in runs),
            "least": min(run[name] for run in runs),
            "most": max(run[name] for run in runs),
        }
        for name in runs[0]
    }


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: a row a figure."""
    lines = ["| scenario | figure | median | spread |", "|---|---|---|---|"]
    for number, result in results.items():
        scenario = SCENARIOS[number]
        title = f"({number}) {scenario.what}; goal: {scenario.goal}"
        for name, figure in result["summary"].items():
            spread = f"{shown(figure['least'])} to {shown(figure['most'])}"
            lines.append(f"| {title} | {name.replace('_', ' ')} | {shown(figure['median'])} | {spread} |")
            title = ""
    return "\n".join(lines)


def shown(value: float) -> str:
    """Three digits that matter."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
