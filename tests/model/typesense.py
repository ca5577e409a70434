"""Typesense in memory behind `Connection`: writes wait in a queue, reads do not wait for them.

What becomes of a write is `FakeTypesense`'s; here is when (`typesense-v29.md`, 0.4): a write, once received,
is executed some time later, in the order in which its collection received them, whether its sender still
waits or not. After a restart all of them are executed once more, while reads are answered already.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple
from urllib.parse import unquote, urlsplit

from cdc_sync.errors import SinkAmbiguous, SinkUnavailable
from cdc_sync.sink import requests
from cdc_sync.sink.answers import SUCCESS, Answer
from cdc_sync.sink.requests import LineError
from tests.fakes import FakeTypesense
from tests.model.hub import Hub, Process, Signal

__all__ = ["Fault", "RequestFault", "Server", "SimConnection"]

READ_TIMEOUT_S = 4.0
IDLE_S = 30.0
REPLAY_S = 3.0

Write = requests.Import | requests.Delete
Fault = Literal[
    "lost before", "lost after", "slow", "lost and slow", "503", "429", "cut", "stopped",
    "sleep before", "sleep after", "death after", "sleep and death",
]  # fmt: skip


class RequestFault(NamedTuple):
    """What happens to one request: it is lost before or after it was received, it is slow (in its queue for
    `seconds`), its answer is cut short, it is stopped after half of its lines; or its sender falls asleep
    (for `seconds`) before or after it was received, dies after that, or both.
    """

    kind: Fault
    seconds: float = 0.0


class Entry:
    """A write that was received; `is_awaited` until its sender has its answer or has given it up."""

    def __init__(self, request: Write, sender: SimConnection, ready_at: float, lines: int | None) -> None:
        self.request = request
        self.sender = sender
        self.ready_at = ready_at
        self.lines = lines
        self.is_awaited = True
        self.is_done = False
        self.is_mended: bool | None = None
        self.answer: list[LineError | None] = []
        self.news = Signal()
        self.touches = frozenset(ids_of(request))
        self.is_derived = is_derived(request)


class Server:
    """One node. `faults` are by the number of the request; `violations` is what no writer may do.

    Until it `is_mended` it refuses documents with the status `refused`.
    """

    def __init__(self, hub: Hub, faults: dict[int, RequestFault]) -> None:
        self.hub = hub
        self.index = FakeTypesense()
        self.index.refuse = lambda _, document: self._refuses and document.get("status") == "refused"
        self.index.poisons = lambda _, document: document.get("status") == "explodes"
        self.epoch = 0
        self.requests = 0
        self.violations: list[str] = []
        self.on_sender: Callable[[Process, RequestFault], None] = lambda *_: None
        self.is_mended = False
        self._refuses = True
        self._faults = faults
        self._queues: dict[str, deque[Entry]] = {}
        self._journal: list[Entry] = []
        self._open: list[Entry] = []

    @property
    def is_idle(self) -> bool:
        """Whether everything that was received is executed."""
        return not self.queued

    @property
    def queued(self) -> int:
        """Writes that are received and not executed."""
        return sum(map(len, self._queues.values()))

    def restart(self) -> None:
        """Connections are cut; what was executed is executed again, while reads are answered already."""
        hub = self.hub
        hub.tell("typesense restarts and replays {} writes", len(self._journal))
        self.epoch += 1
        queues: dict[str, deque[Entry]] = {}
        for n, entry in enumerate(self._journal):
            entry.ready_at = hub.now + REPLAY_S * (n + 1) / len(self._journal)
            hub.at(entry.ready_at, self._work)
            queues.setdefault(entry.request.collection, deque()).append(entry)
        for name, queue in self._queues.items():
            for entry in queue:
                queues.setdefault(name, deque()).append(entry)
                hub.give(entry.news)
        hub.at(hub.now + REPLAY_S, self._work)
        self._queues, self._journal = queues, []
        self.index.collections.clear()

    def fault(self) -> RequestFault | None:
        """What shall happen to the next request."""
        self.requests += 1
        return self._faults.get(self.requests)

    def receive(self, entry: Entry) -> None:
        """Take a write whose last byte has arrived."""
        self._check(entry)
        self._queues.setdefault(entry.request.collection, deque()).append(entry)
        self._open.append(entry)
        self.hub.at(entry.ready_at, self._work)

    def object_to_zombie(self, process: Process, asked: requests.Request | None) -> None:
        """A write is to be sent by somebody who may be no member any more."""
        if isinstance(asked, Write) and not is_derived(asked) and ids_of(asked):
            self.violations.append(f"{process.name} writes {told(asked)} without a lease")

    def _work(self) -> None:
        for queue in self._queues.values():
            while queue and queue[0].ready_at <= self.hub.now:
                self._execute(queue.popleft())

    def _execute(self, entry: Entry) -> None:
        request = entry.request
        if entry.is_mended is None:  # the schema of that moment; a replay has the same again
            entry.is_mended = self.is_mended
        self._refuses = not entry.is_mended
        if isinstance(request, requests.Import) and entry.lines is not None:
            request = requests.Import(request.collection, request.action, request.documents[: entry.lines])
        entry.answer = self.index.answer(request) or []
        self.index.asked.clear()
        if self.hub.story is not None and entry.touches:
            late = "" if entry.is_awaited else ", which nobody waits for"
            self.hub.tell("executed: {}{}", told(request), late)
        entry.is_done = True
        self._journal.append(entry)
        self.hub.give(entry.news)

    def _check(self, entry: Entry) -> None:
        """Nothing newer of a document while something older of it is under way (promise 3)."""
        self._open = [old for old in self._open if old.is_awaited or not old.is_done]
        for old in self._open:
            if old.request.collection == entry.request.collection and old.touches & entry.touches:
                if old.sender is entry.sender:
                    if not old.is_done:
                        self._object(old, entry, "before the fate of its older request is known")
                elif is_contended(old, entry):
                    self._object(old, entry, "while another owner does")

    def _object(self, old: Entry, new: Entry, why: str) -> None:
        same = ", ".join(sorted(old.touches & new.touches))
        who = f"{new.sender.process.name} ({old.sender.process.name})"
        self.violations.append(f"{who} writes {new.request.collection} {same} {why}")


def is_contended(old: Entry, new: Entry) -> bool:
    """Whether two owners write at the same time, and both may."""
    if not old.is_awaited or old.is_derived or new.is_derived:
        return False
    return old.sender.is_entitled and new.sender.is_entitled


class SimConnection:
    """What `Connection` is to one lane. `may_write` is whether the broker has lately called it a member."""

    def __init__(self, server: Server, process: Process, may_write: Callable[[], bool]) -> None:
        self.process = process
        self._server = server
        self._hub = server.hub
        self._may_write = may_write
        self._epoch: int | None = None
        self._used_at = 0.0
        self._is_aborted = False
        self._entry: Entry | None = None

    @property
    def is_entitled(self) -> bool:
        """Whether its replica lives and has a lease."""
        process = self.process
        return not process.is_dead and process.asleep_until <= self._hub.now and self._may_write()

    @property
    def is_open(self) -> bool:
        if self._epoch is not None and self._hub.now - self._used_at > IDLE_S:
            self.close()
        return self._epoch is not None

    def open(self) -> None:
        self.close()
        self._hub.pause()
        self._epoch = self._server.epoch
        self._is_aborted = False
        self._used_at = self._hub.now

    def close(self) -> None:
        self._epoch = None

    def abort(self) -> None:
        if self._epoch is not None:
            self._is_aborted = True
            if self._entry is not None:
                self._hub.give(self._entry.news)

    def request(self, operation: str, method: str, target: str, body: bytes | None = None) -> Answer:
        if self._epoch is None:
            raise SinkUnavailable("not connected")
        asked = None if target == "/stats.json" else parsed(method, target, body)
        if not self._may_write():
            self._server.object_to_zombie(self.process, asked)
        fault = self._server.fault()
        kind = fault.kind if fault else None
        if fault is not None:
            self._hub.tell("{} {}: {}", method, unquote(target), kind)
            if kind in ("sleep before", "sleep and death"):
                self._server.on_sender(self.process, RequestFault("sleep before", fault.seconds))
        self._hub.pause()  # here a process may sleep: its lease was looked at, its request is not out yet
        lost = SinkUnavailable if method == "GET" else SinkAmbiguous
        if self._is_cut:
            raise self._lost(lost, operation)
        if kind == "lost before":
            raise self._lost(lost, operation)
        if kind in ("503", "429"):
            self._used_at = self._hub.now
            return Answer(int(kind), b'{ "message": "Not Ready or Lagging"}')
        if asked is None:
            return self._stats()
        if isinstance(asked, requests.ReadById | requests.ReadByLookup):
            return self._read(asked, operation)
        return self._write(asked, operation, fault or RequestFault("slow", self._hub.delay()))

    def _stats(self) -> Answer:
        self._hub.pause()
        if self._is_cut:
            raise self._lost(SinkUnavailable, "stats")
        return Answer(200, json.dumps({"pending_write_batches": self._server.queued}).encode())

    @property
    def _is_cut(self) -> bool:
        return self._is_aborted or self._epoch != self._server.epoch

    def _lost(self, kind: type[SinkUnavailable | SinkAmbiguous], operation: str) -> Exception:
        self.close()
        return kind(f"{operation}: no answer")

    def _read(self, asked: requests.ReadById | requests.ReadByLookup, operation: str) -> Answer:
        documents = self._server.index.answer(asked)
        self._server.index.asked.clear()
        self._hub.pause()
        if self._is_cut:
            raise self._lost(SinkUnavailable, operation)
        self._used_at = self._hub.now
        if operation == "read" and asked_for_one(asked) and not documents:
            return Answer(404, b'{"message": "Could not find a document with id: x"}')
        return Answer(200, b"\n".join(json.dumps(d).encode() for d in documents))

    def _write(self, asked: Write, operation: str, fault: RequestFault) -> Answer:
        hub = self._hub
        lines = None
        if isinstance(asked, requests.Import) and fault.kind == "stopped":
            lines = len(asked.documents) // 2
        stays_s = fault.seconds if "slow" in fault.kind or fault.kind == "death after" else 0.0
        entry = self._entry = Entry(asked, self, hub.now + (stays_s or hub.delay()), lines)
        hub.tell("{} sends {}", operation, told(asked))
        self._server.receive(entry)
        if fault.kind in ("sleep after", "death after", "sleep and death"):
            self._server.on_sender(self.process, fault)
            hub.pause()
        deadline = hub.now + READ_TIMEOUT_S
        is_lost = fault.kind in ("lost after", "lost and slow")
        while not (entry.is_done or is_lost or self._is_cut or hub.now >= deadline):
            hub.wait(entry.news, deadline - hub.now)
        if entry.is_done and not is_lost:
            hub.pause()  # applied, and the answer is on its way
        self._entry, entry.is_awaited = None, False
        if not entry.is_done or is_lost or self._is_cut:
            hub.tell("the answer to {} is lost", told(asked))
            raise self._lost(SinkAmbiguous, operation)
        self._used_at = hub.now
        if not isinstance(asked, requests.Import):
            return Answer(200, b'{"num_deleted":0}')
        results = [result_line(error) for error in entry.answer]
        if fault.kind == "cut":
            results.pop()
        if lines is not None:
            results.append(b'{"message": "Rejecting write: running out of resource type: OUT_OF_DISK"}')
        return Answer(200, b"\n".join(results))


def ids_of(request: Write) -> Sequence[str]:
    """The documents that it writes or deletes."""
    return [d["id"] for d in request.documents] if isinstance(request, requests.Import) else request.ids


def is_derived(request: Write) -> bool:
    """Whether this is the enrichment of products, which anybody may write at any time."""
    return (
        isinstance(request, requests.Import)
        and request.action == "update"
        and request.collection == "products_1"
    )


def parsed(method: str, target: str, body: bytes | None) -> requests.Request:
    """A request of the sink's, from its bytes."""
    path, query = urlsplit(target)[2:4]
    _, _, collection, _, *rest = path.split("/")
    parameters = {name: unquote(value) for name, _, value in (p.partition("=") for p in query.split("&"))}
    if rest == ["import"]:
        documents = [json.loads(line) for line in (body or b"").split(b"\n")]
        action: Any = parameters["action"]
        return requests.Import(collection, action, documents)
    if rest and rest != ["export"]:
        one = (unquote(rest[0]),)
        return requests.ReadById(collection, one) if method == "GET" else requests.Delete(collection, one)
    field, _, listed = parameters["filter_by"].partition(":")
    values = [value.strip("`") for value in listed.strip("[]").split(",") if value]
    if method == "DELETE":
        return requests.Delete(collection, tuple(values))
    if field == "id":
        return requests.ReadById(collection, tuple(values))
    return requests.ReadByLookup(collection, field, tuple(int(value) for value in values))


def asked_for_one(asked: requests.ReadById | requests.ReadByLookup) -> bool:
    """Whether this came as a path of one document; ids that go there need no filter."""
    return isinstance(asked, requests.ReadById) and len(asked.ids) == 1 and "/" in asked.ids[0]


def result_line(error: LineError | None) -> bytes:
    """A line of an import's answer."""
    if error is None:
        return SUCCESS
    return json.dumps({"code": error.code, "error": error.text, "success": False}).encode()


def told(request: Write) -> str:
    """A write as the story prints it."""
    if isinstance(request, requests.Delete):
        return f"delete {request.collection} {', '.join(request.ids) or '(a barrier)'}"
    return f"{request.action} {request.collection} {brief(request.documents)}"


def brief(documents: Sequence[Any]) -> str:
    """Documents by what differs between their versions."""
    shown = (
        "id",
        "status",
        "productId",
        "_live",
        "_owed",
        "infoId",
        "name",
        "name_en",
        "sku",
        "description_en",
    )
    return "; ".join(" ".join(f"{n}={d[n]}" for n in shown if n in d) for d in documents)
