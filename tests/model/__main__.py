"""Seeds from the command line: `python -m tests.model --seeds 100000`, or `--seed 4711` for its story."""

from __future__ import annotations

import argparse
import sys
import time

from tests.model.plan import Plan, plan_of
from tests.model.shrink import shrunk
from tests.model.verdict import judged

__all__ = ["report"]


def report(seed: int) -> str:
    """The shortest story in which this seed fails, and what is wrong in it."""
    plan = shrunk(plan_of(seed), is_wrong)
    faults, story = judged(plan, has_story=True)
    again = f"again with: make model SEED={seed}"
    return "\n".join([f"seed {seed}", *story, "", *described(plan), "", *faults, "", again])


def described(plan: Plan) -> list[str]:
    """What is left of a plan."""
    return [f"{name} = {value!r}" for name, value in plan._asdict().items()]


def is_wrong(plan: Plan) -> bool:
    """Whether anything is not as promised."""
    return bool(judged(plan)[0])


def main() -> int:
    """Run seeds until the last, or the first that fails; its story goes to standard output."""
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    parser.add_argument("--seed", type=int, help="tell the story of this one, shortened where it fails")
    parser.add_argument("--seeds", type=int, default=2_000, help="run so many (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="begin with this one (default: %(default)s)")
    parser.add_argument("--brief", action="store_true", help="tell no story of the first that fails")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the first that fails")
    given = parser.parse_args()
    if given.seed is not None:
        if is_wrong(plan_of(given.seed)):
            print(report(given.seed))
            return 1
        print("\n".join(judged(plan_of(given.seed), has_story=True)[1]))
        return 0
    started, failed = time.process_time(), 0
    for seed in range(given.first, given.first + given.seeds):
        faults, _ = judged(plan_of(seed))
        if faults:
            failed += 1
            print(f"seed {seed}: {faults[0]}", flush=True)
            if not given.keep_going:
                print("" if given.brief else report(seed))
                return 1
    seconds = time.process_time() - started
    print(f"{given.seeds} seeds, {failed} failed, {seconds:.1f} s of CPU")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
