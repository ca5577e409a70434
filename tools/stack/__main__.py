"""`python -m tools.stack up|down|status`: the real parts for a developer.

`up` runs until Ctrl-C or `down`; with `--detach` it returns when everything answers. `status`
prints the addresses as the variables that tests read, so that `eval "$(python -m tools.stack
status)"` makes a test run use the parts that are already there.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from types import FrameType
from typing import Any

from tools.stack import layout
from tools.stack.errors import StackError
from tools.stack.ledger import is_alive, start_time, sweep
from tools.stack.stack import Stack

_UP_TIMEOUT_S = 900


def main() -> int:
    """0 done, 1 failed, 2 wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m tools.stack", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start the parts and stay until Ctrl-C")
    up.add_argument("--detach", action="store_true", help="return when everything answers")
    up.add_argument("--registry", action="store_true", help="start the schema registry too")
    up.add_argument("--avro", action="store_true", help="registry and Confluent's Avro converter")
    commands.add_parser("down", help="stop what `up` started")
    commands.add_parser("status", help="print the addresses")
    options = parser.parse_args()
    try:
        return _run(options)
    except StackError as error:
        print(f"stack: {error}", file=sys.stderr)
        return 1


def _run(options: argparse.Namespace) -> int:
    if options.command == "down":
        return _down()
    if options.command == "status":
        return _status()
    if _running() is not None:
        print("stack: it runs already", file=sys.stderr)
        return _status()
    return _detach(options) if options.detach else _up(options)


def _up(options: argparse.Namespace) -> int:
    signal.signal(signal.SIGTERM, _interrupt)
    stack = Stack(registry=options.registry, avro=options.avro)
    try:
        stack.start()
        layout.STATE.write_text(json.dumps(_state(stack)))
        _status()
        print("# Ctrl-C stops everything", flush=True)
        signal.pause()
    except KeyboardInterrupt:
        pass
    finally:
        layout.STATE.unlink(missing_ok=True)
        stack.stop()
    return 0


def _detach(options: argparse.Namespace) -> int:
    chosen = [f"--{name}" for name in ("registry", "avro") if getattr(options, name)]
    layout.SCRATCH.mkdir(parents=True, exist_ok=True)
    log = layout.SCRATCH / "up.log"
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "tools.stack", "up", *chosen],
            cwd=layout.PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + _UP_TIMEOUT_S
    while time.monotonic() < deadline and child.poll() is None:
        if _running() is not None:
            return _status()
        time.sleep(0.2)
    child.terminate()
    print(log.read_text(errors="replace"), file=sys.stderr)
    return 1


def _down() -> int:
    state = _running()
    if state is not None:
        pid, started = state["owner"]
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 60
        while is_alive(pid, started) and time.monotonic() < deadline:
            time.sleep(0.1)
    sweep(layout.RUNS)
    layout.STATE.unlink(missing_ok=True)
    return 0


def _status() -> int:
    state = _running()
    if state is None:
        print("# the stack does not run")
        return 1
    for name, value in state["environment"].items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


def _state(stack: Stack) -> dict[str, Any]:
    environment = {
        "CDC_SYNC_TEST_KAFKA": stack.broker.address,
        "CDC_SYNC_TEST_CONNECT": stack.connect.address,
        "CDC_SYNC_TEST_POSTGRES": stack.dsn(),
        "CDC_SYNC_TEST_KAFKA_FROM_CONNECT": stack.source.bootstrap,
        "CDC_SYNC_TEST_POSTGRES_FROM_CONNECT": f"{stack.source.host}:{stack.source.port}",
    }
    if stack.registry is not None:
        environment["CDC_SYNC_TEST_REGISTRY"] = stack.registry.address
    return {"owner": [os.getpid(), start_time(os.getpid())], "environment": environment}


def _running() -> dict[str, Any] | None:
    try:
        state: dict[str, Any] = json.loads(layout.STATE.read_text())
    except (OSError, ValueError):
        return None
    return state if is_alive(*state["owner"]) else None


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
