"""What the handlers of all routes share."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from .collection import Collection
from .errors import missing_collection
from .http import Request, Response
from .importer import Poison
from .journal import NoJournal
from .jsonvalue import encode
from .lanes import Lanes
from .store import Store
from .writer import Journal


@dataclass(slots=True)
class Context:
    """The state of one server."""

    store: Store = field(default_factory=Store)
    lanes: Lanes = field(default_factory=Lanes)
    journal: Journal = field(default_factory=NoJournal)
    clock: Callable[[], float] = time.time
    altering: dict[str, dict[str, object]] = field(default_factory=dict)
    """Running schema changes by the name in their URL."""
    settings: dict[str, int | bool] = field(default_factory=dict)
    """What ``POST /config`` set."""
    committed_entries: int = 0
    is_ready: bool = False
    """False until the journal is loaded."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request on its way to a handler. ``target`` is the collection name it was bound to."""

    request: Request
    params: Mapping[str, str]
    target: str
    poison: Poison | None = None
    line_limit: int | None = None
    """Apply no more than so many lines of an import, as when resources run out midway."""

    def collection(self, context: Context) -> Collection:
        """The collection a write was bound to when it was queued; raises the 404."""
        collection = context.store.collections.get(self.target)
        if collection is None:
            raise missing_collection()
        return collection


def json_response(value: object, status: int = 200) -> Response:
    """A compact JSON answer with sorted keys."""
    return Response(status, encode(value))


async def breathe() -> None:
    """Let other requests have their turn during long work."""
    await asyncio.sleep(0)
