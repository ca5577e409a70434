"""The pure middle of the corridor, decode → route → map: a function a topic, made once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from cdc_sync.compaction import Asked
from cdc_sync.errors import MappingError, RecordError
from cdc_sync.model import DocumentChange, Operation, Record, Skip
from cdc_sync.protocols import Decoder, Mapper, Read
from cdc_sync.routing import Router

__all__ = ["Ask", "Corridor"]

Ask = Callable[[Record], Asked | Skip]
"""What a record asks for. Raises `RecordError`."""

UNROUTED: Final = Skip("unrouted")
READ: Final = Operation.READ


class Corridor:
    """The pure middle: a record to what it asks for."""

    def __init__(self, decoder: Decoder, router: Router) -> None:
        self._decoder = decoder
        self._router = router
        self._ways: dict[str, Ask] = {}

    def way(self, topic: str) -> Ask:
        """Decode, route, map: the function from a record of this topic to what it asks for.

        It raises `RecordError`.
        """
        way = self._ways.get(topic)
        if way is None:
            mapper = self._router.mapper(topic.rpartition(".")[2])
            way = self._ways[topic] = a_way(self._decoder.reader(topic), mapper)
        return way

    def change_of(self, record: Record) -> DocumentChange | Skip:
        """Only the change. Raises `RecordError`."""
        asked = self.way(record.partition.topic)(record)
        return asked if isinstance(asked, Skip) else asked.change


def a_way(read: Read, mapper: Mapper | None) -> Ask:
    """The function that reads and maps the records of one topic."""
    if mapper is None:
        return lambda record: found if isinstance(found := read(record), Skip) else UNROUTED
    map_event = mapper.map

    def ask(record: Record) -> Asked | Skip:
        event = read(record)
        if isinstance(event, Skip):
            return event
        try:
            change = map_event(event)
        except RecordError:
            raise
        except Exception as error:  # a mapper of somebody else's: its bug is about this row, not about us
            reason = f"{event.table}: its mapper failed: {type(error).__name__}: {error}"
            raise MappingError(reason) from error
        if isinstance(change, Skip):
            return change
        return Asked(record, change, None if event.operation is READ else event.source_ts_ms)

    return ask
