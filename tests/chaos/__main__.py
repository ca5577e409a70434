"""`python -m tests.chaos --seed 17 --minutes 30`: one seed by hand. See `make chaos`."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

from .campaign import Campaign, own_stack, search_server
from .plan import Plan, make_plan
from .runlog import RunLog


def main() -> int:
    """0 converged, 1 did not, 2 wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="decides everything; a random one by default")
    parser.add_argument("--minutes", type=float, default=5.0, help="of faults; 5 by default")
    parser.add_argument("--plan", action="store_true", help="print the plan and do nothing")
    options = parser.parse_args()
    seed = time.time_ns() // 1000 % 1_000_000 if options.seed is None else options.seed
    plan = make_plan(seed, options.minutes * 60)
    if options.plan:
        print(plan)
        return 0
    signal.signal(signal.SIGTERM, _interrupt)
    folder = Path(tempfile.mkdtemp(prefix=f"chaos-{seed}-"))
    log = RunLog(folder / "run.log", echo=True)
    again = f"make chaos SEED={seed} MINUTES={options.minutes:g}"
    (folder / "plan.txt").write_text(f"{plan}\n")
    log.say("begin", f"{again}; plan, requests and logs in {folder}")
    log.say("begin", str(plan).split("\n")[0])
    problems = run(plan, folder, log)
    for problem in problems:
        log.say("verdict", problem)
    log.say("verdict", f"FAILED; again: {again}" if problems else "converged")
    return 1 if problems else 0


def run(plan: Plan, folder: Path, log: RunLog) -> list[str]:
    """The problems of a run on a stack of its own."""
    stack = own_stack()
    stack.start()
    try:
        with search_server(folder) as (server, part):
            campaign = Campaign(plan, stack, server, part, folder, log)
            try:
                return campaign.run()
            finally:
                campaign.close()
    finally:
        stack.stop()


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
