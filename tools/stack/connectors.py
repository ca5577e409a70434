"""Connectors over Connect's REST interface, and what a connector leaves in PostgreSQL.

RUNNING does not mean that a connector streams: it may still take its snapshot, or wait for
something. Its replication slot is active exactly while it streams, so `register` waits for that
too.
"""

from __future__ import annotations

import json
import time
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any

import psycopg

from tools.stack.errors import ConnectorFailed, NotReady
from tools.stack.rest import Refused, request

__all__ = ["Connectors", "drop_slot", "wait_slot"]


class Connectors:
    """The connectors of one worker."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def register(
        self,
        name: str,
        config: Mapping[str, str],
        conninfo: str,
        *,
        deadline_s: float = 90.0,
    ) -> None:
        """Create or change a connector; returns when it is RUNNING and its slot is active.

        `conninfo` leads to the database that it reads, for a look at its slot.

        Raises:
            ConnectorFailed: Connect refuses the configuration, or the task is FAILED.
            NotReady: it does not stream at the deadline.

        """
        deadline = time.monotonic() + deadline_s
        self._retry_conflicts("PUT", f"/connectors/{_quoted(name)}/config", dict(config), deadline)
        left_s = deadline - time.monotonic()
        self.wait_streaming(name, config["slot.name"], conninfo, deadline_s=left_s)

    def wait_streaming(self, name: str, slot: str, conninfo: str, *, deadline_s: float = 60.0) -> None:
        """Return when the connector runs and its slot is active.

        The states alone say nothing after a worker was killed: what they were is kept in Kafka.
        Raises as `register`.
        """
        deadline = time.monotonic() + deadline_s
        self.wait_running(name, deadline_s=deadline_s)

        def failed() -> None:
            self.states(name)

        try:
            left_s = deadline - time.monotonic()
            wait_slot(conninfo, slot, active=True, deadline_s=left_s, check=failed)
        except NotReady as error:
            raise NotReady(f"{error}; connector {name}: {self.status(name)}") from error

    def wait_running(self, name: str, *, deadline_s: float = 60.0) -> None:
        """Return when the connector and its first task are RUNNING. Raises as `register`."""
        deadline = time.monotonic() + deadline_s
        while time.monotonic() < deadline:
            states = self.states(name)
            if len(states) > 1 and set(states) == {"RUNNING"}:
                return
            time.sleep(0.1)
        raise NotReady(f"connector {name} is not running: {self.status(name)}")

    def states(self, name: str) -> list[str]:
        """The states of the connector and of its tasks.

        Raises: ConnectorFailed when one is FAILED.
        """
        status = self.status(name)
        parts = [status["connector"], *status["tasks"]] if status else []
        for part in parts:
            if part["state"] == "FAILED":
                raise ConnectorFailed(f"connector {name}:\n{part.get('trace', '')}")
        return [str(part["state"]) for part in parts]

    def status(self, name: str) -> dict[str, Any]:
        """What Connect says about it; empty while the worker does not know it yet."""
        try:
            answer = self._ask("GET", f"/connectors/{_quoted(name)}/status")
        except ConnectorFailed:
            return {}
        return dict(answer)

    def names(self) -> list[str]:
        """All connectors of the worker."""
        return [str(name) for name in self._ask("GET", "/connectors")]

    def delete(self, name: str, *, deadline_s: float = 30.0) -> None:
        """Remove it, if it is there. Its offsets stay: never use the name again with a new slot."""
        deadline = time.monotonic() + deadline_s
        if name in self.names():
            self._retry_conflicts("DELETE", f"/connectors/{_quoted(name)}", None, deadline)

    def pause(self, name: str) -> None:
        """Ask it to stop reading; it keeps its slot and place."""
        self._ask("PUT", f"/connectors/{_quoted(name)}/pause")
        self._wait_state(name, "PAUSED")

    def resume(self, name: str) -> None:
        """Undo `pause`."""
        self._ask("PUT", f"/connectors/{_quoted(name)}/resume")
        self._wait_state(name, "RUNNING")

    def restart(self, name: str) -> None:
        """Restart the connector and its tasks, whatever their states are, and wait for RUNNING."""
        path = f"/connectors/{_quoted(name)}/restart?includeTasks=true&onlyFailed=false"
        self._retry_conflicts("POST", path, None, time.monotonic() + 30)
        self.wait_running(name)

    def _wait_state(self, name: str, state: str) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            states = self.states(name)
            if len(states) > 1 and set(states) == {state}:
                return
            time.sleep(0.1)
        raise NotReady(f"connector {name} is not {state}: {self.status(name)}")

    def _retry_conflicts(self, method: str, path: str, body: object, deadline: float) -> None:
        """A worker answers 409 while it rebalances, and 500 or nothing when its leader is away."""
        while True:
            try:
                self._ask(method, path, body)
            except ConnectorFailed as error:
                cause = error.__cause__
                conflict = isinstance(cause, Refused) and cause.code in (409, 500, 503)
                if not conflict or time.monotonic() > deadline:
                    raise
                time.sleep(0.3)
            else:
                return

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        try:
            text = request(
                self._url + path,
                method=method,
                body=None if body is None else json.dumps(body).encode(),
                headers={"Content-Type": "application/json", "Accept": "application/json"},
            )
        except Refused as error:
            raise ConnectorFailed(f"{method} {path}: {error}") from error
        return json.loads(text) if text else None


def wait_slot(
    conninfo: str,
    slot: str,
    *,
    active: bool,
    deadline_s: float,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Return when a replication slot is (not) in use.

    Raises: NotReady, and whatever `check` raises.
    """
    deadline = time.monotonic() + deadline_s
    with psycopg.connect(conninfo, autocommit=True) as connection:
        while time.monotonic() < deadline:
            found = connection.execute(
                "SELECT active FROM pg_replication_slots WHERE slot_name = %s", [slot]
            ).fetchone()
            if found == (active,) or (found is None and not active):
                return
            check()
            time.sleep(0.1)
    raise NotReady(f"slot {slot} is {found}, not active={active}")


def drop_slot(conninfo: str, slot: str, *, deadline_s: float = 30.0) -> None:
    """Remove a slot once its connector has let go of it; a slot left behind keeps WAL for ever."""
    wait_slot(conninfo, slot, active=False, deadline_s=deadline_s)
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s",
            [slot],
        )


def _quoted(name: str) -> str:
    return urllib.parse.quote(name, safe="")
