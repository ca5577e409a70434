"""Run the benchmarks: `make bench`, or `python -m bench --help`.

A broker is started (or `CDC_SYNC_TEST_KAFKA` used) and a stand-in for Typesense (or the real one of
`CDC_SYNC_TEST_TYPESENSE_URL`, whose collections are overwritten). Every scenario is measured `--runs` times;
the table has medians and spreads, the JSON file every run.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from bench.kafka import kafka
from bench.plot import svg
from bench.processes import machine
from bench.report import shown, summary, table
from bench.scenarios import SCENARIOS, Bench, Figures
from bench.typesense import server


def main() -> None:
    """Measure, print, write."""
    options = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    options.add_argument("--runs", type=int, default=5, help="measurements of each scenario (5)")
    options.add_argument("--events", type=int, default=400_000, help="events of a catch-up (400000)")
    options.add_argument("--only", help=f"scenarios, comma-separated, of {', '.join(SCENARIOS)}")
    options.add_argument("--latency-s", type=float, default=10.0, help="seconds of each latency run (10)")
    options.add_argument("--long", action="store_true", help="growth to 5 million events, not to 1 million")
    options.add_argument("--out", type=Path, default=Path("bench-results.json"), help="the JSON file")
    chosen = options.parse_args()
    growth = (10_000, 100_000, 1_000_000, *([5_000_000] if chosen.long else []))
    names = chosen.only.split(",") if chosen.only else list(SCENARIOS)
    facts = {"at": time.strftime("%Y-%m-%d"), **machine()}
    results: dict[str, Any] = {}
    with kafka() as bootstrap, server() as search:
        facts["search"] = search.name
        bench = Bench(bootstrap, search, chosen.events, growth, chosen.latency_s)
        for name in names:
            runs = measured(name, bench, chosen.runs)
            results[name] = {"summary": summary(runs), "runs": runs}
            report = {"machine": facts, "events": chosen.events, "results": results}
            chosen.out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
            chosen.out.with_suffix(".svg").write_text(svg(results))
    print(f"\n{'; '.join(f'{k}: {v}' for k, v in facts.items())}\n\n{table(results)}")


def measured(name: str, bench: Bench, times: int) -> list[Figures]:
    """The runs of one scenario, told as they come."""
    print(f"({name}) {SCENARIOS[name].what}", flush=True)
    measure = SCENARIOS[name].prepare(bench)
    runs = []
    for _ in range(times):
        runs.append(measure())
        print("   ", ", ".join(f"{k} {shown(v)}" for k, v in runs[-1].items()), flush=True)
    return runs


if __name__ == "__main__":
    main()
