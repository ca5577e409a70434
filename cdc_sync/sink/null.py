"""A sink that does all of a sink's work but sending: for benchmarks of the daemon alone."""

from __future__ import annotations

from collections.abc import Sequence

from cdc_sync.compaction import Batch
from cdc_sync.model import Rejection, Upsert
from cdc_sync.sink.bodies import import_bodies

__all__ = ["NullSink"]


class NullSink:
    """Serialises every document into import bodies, and drops them."""

    def __init__(self) -> None:
        self.documents = 0
        self.bytes = 0

    def open(self) -> None:
        """Nothing to make ready."""

    def write(self, batch: Batch) -> Sequence[Rejection]:
        """Nothing is ever refused."""
        for pendings in batch.changes.values():
            changes = [pending.change for pending in pendings.values()]
            documents = [change.document for change in changes if type(change) is Upsert]
            for body, count in import_bodies(documents):
                self.bytes += len(body)
                self.documents += count
        return ()

    def abort(self) -> None:
        """Nothing is ever in flight."""
