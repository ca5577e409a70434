"""Faults on demand: what can go wrong between a client and a Typesense server.

A fault is armed over HTTP (``PUT /standin/faults``) or from Python (``StandIn.faults``), limited
by method, path, count and probability, and counts how often it fired.
"""

import random
import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec

from .http import Request, Response

Kind = Literal[
    "lagging",
    "rate_limit",
    "out_of_resources",
    "status",
    "batch_500",
    "delay_before_apply",
    "delay_after_apply",
    "reset_before_apply",
    "reset_after_apply",
    "truncate",
    "append_422",
    "never_answer",
    "apply_late",
    "lose_cut_characters",
]

OUT_OF_DISK = "Rejecting write: running out of resource type: OUT_OF_DISK"


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One fault to arm. ``kind`` decides what happens and which other fields count.

    - ``lagging`` 503, ``rate_limit`` 429, ``out_of_resources`` 422 and ``status`` (with
      ``status`` and ``message``): the request is refused, nothing of it is applied.
    - ``batch_500`` (with ``ids`` or ``contains``): an internal batch with such a document fails
      as a whole, every line with code 500.
    - ``delay_before_apply``, ``delay_after_apply`` (with ``seconds``).
    - ``reset_before_apply``, ``reset_after_apply``: the connection is reset.
    - ``truncate`` (with ``lines``): everything applied, the answer stops after so many lines.
    - ``append_422`` (with ``lines``): so many lines applied, then the JSON message in the stream.
    - ``never_answer`` (with ``applied``): the client waits until its own time-out.
    - ``apply_late`` (with ``seconds``): accepted now, applied later even if the client has gone;
      keeps its place in the collection's queue unless ``outside_queue``.
    - ``lose_cut_characters``: a body of 196,605 bytes or more loses the characters that the edge
      of a log entry cuts.
    """

    kind: Kind
    method: str | None = None
    path: str | None = None
    """Regular expression searched in the path with its query, as sent."""
    reads: bool = False
    """Also hit reads; without it only writes are hit."""
    skip: int = 0
    """Let so many matching requests pass first."""
    count: int | None = None
    """Fire at most so often."""
    probability: float = 1.0
    seed: int = 0
    seconds: float = 1.0
    lines: int | None = None
    """For answers cut short: result lines sent; half of them when not given."""
    applied: bool = True
    outside_queue: bool = False
    ids: tuple[str, ...] = ()
    contains: str | None = None
    status: int = 500
    message: str = "Could not find a leader."


class ArmedFault:
    """A fault with its counters."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.matched = 0
        self.fired = 0
        self._path = re.compile(fault.path) if fault.path is not None else None
        self._random = random.Random(fault.seed)  # noqa: S311  # repeatable tests, no secret

    def fires(self, request: Request, is_write: bool) -> bool:
        """Decide for one request, and count."""
        if not self._matches(request, is_write):
            return False
        self.matched += 1
        if self.matched <= self.fault.skip:
            return False
        if self.fault.count is not None and self.fired >= self.fault.count:
            return False
        if self.fault.probability < 1.0 and self._random.random() >= self.fault.probability:
            return False
        if self.fault.kind != "batch_500":
            self.fired += 1
        return True

    def _matches(self, request: Request, is_write: bool) -> bool:
        if not (is_write or self.fault.reads):
            return False
        if self.fault.method not in (None, request.method):
            return False
        return self._path is None or self._path.search(request.target) is not None

    def poisons(self, lines: list[bytes]) -> bool:
        """Whether an internal batch holds a document that makes it fail."""
        fault = self.fault
        if fault.count is not None and self.fired >= fault.count:
            return False
        needle = fault.contains.encode() if fault.contains is not None else None
        hit = any((needle is not None and needle in line) or _id_of(line) in fault.ids for line in lines)
        self.fired += hit
        return hit

    def report(self) -> dict[str, Any]:
        """The fault as it was armed, and its counters."""
        shown: dict[str, Any] = msgspec.to_builtins(self.fault)
        return shown | {"matched": self.matched, "fired": self.fired}


def _id_of(line: bytes) -> str | None:
    try:
        return msgspec.json.decode(line, type=_WithId).id
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


class _WithId(msgspec.Struct):
    id: str


class Plan:
    """The faults that fired for one request, by kind."""

    def __init__(self, armed: Iterable[ArmedFault] = ()) -> None:
        self._by_kind: dict[str, ArmedFault] = {}
        for item in armed:
            self._by_kind.setdefault(item.fault.kind, item)

    def __bool__(self) -> bool:
        return bool(self._by_kind)

    def fault(self, kind: Kind) -> Fault | None:
        item = self._by_kind.get(kind)
        return item.fault if item is not None else None

    def has(self, kind: Kind) -> bool:
        return kind in self._by_kind

    @property
    def poison(self) -> Any:
        """The test of ``batch_500`` for an import, or None."""
        item = self._by_kind.get("batch_500")
        return item.poisons if item is not None else None


class Faults:
    """The armed faults of a server. Arming from another thread takes effect at once."""

    def __init__(self) -> None:
        self._armed: tuple[ArmedFault, ...] = ()

    def set(self, faults: Sequence[Fault]) -> None:
        """Arm these and nothing else."""
        self._armed = tuple(ArmedFault(fault) for fault in faults)

    def add(self, fault: Fault) -> ArmedFault:
        """Arm one more; the returned object counts how often it fired."""
        armed = ArmedFault(fault)
        self._armed = (*self._armed, armed)
        return armed

    def clear(self) -> None:
        """Disarm all."""
        self._armed = ()

    def report(self) -> list[dict[str, Any]]:
        """Every armed fault with its counters."""
        return [item.report() for item in self._armed]

    def plan(self, request: Request, is_write: bool) -> Plan:
        """The faults that fire for this request."""
        if not self._armed:
            return _NO_FAULTS
        return Plan(item for item in self._armed if item.fires(request, is_write))


_NO_FAULTS = Plan()


def read_faults(body: bytes) -> list[Fault]:
    """Faults of a request body: one object, a list, or ``{"faults": […]}``."""
    value = msgspec.json.decode(body)
    if isinstance(value, dict) and "faults" in value:
        value = value["faults"]
    if isinstance(value, dict):
        value = [value]
    faults = msgspec.convert(value, list[Fault])
    for fault in faults:
        re.compile(fault.path or "")
    return faults


def cut_response(response: Response, lines: int | None) -> bytes:
    """The beginning of an import answer: so many whole lines, half of them by default."""
    results = response.body.split(b"\n")
    kept = len(results) // 2 if lines is None else lines
    return b"".join(line + b"\n" for line in results[:kept])
