"""Which mapper reads a table, which collections exist, and which of them are written together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cdc_sync.errors import ConfigError
from cdc_sync.protocols import Mapper, Reads
from cdc_sync.schema import Collection, Enrichment, field_matches

__all__ = ["Router"]


class Router:
    """Tables to mappers, and collections to lanes.

    A lane is one ordered stream of writes. Every collection is a lane of its own, except that a collection
    and the one that enriches it share theirs. Raises `ConfigError` where two mappers claim one table or
    collection, or an enrichment does not fit its mappers.
    """

    def __init__(self, mappers: Iterable[Mapper], enrichments: Sequence[Enrichment] = ()) -> None:
        self._mappers: dict[str, Mapper] = {}
        self.mapper = self._mappers.get
        """The mapper of a table, None for one that nobody maps."""
        for mapper in mappers:
            other = self._mappers.setdefault(mapper.table, mapper)
            if other is not mapper:
                raise ConfigError(
                    f"two mappers read the table {mapper.table}: a table has one (see CDC_SYNC_MAPPERS)"
                )
        self.enrichments = tuple(
            e for e in enrichments if e.parent in self._collections() and e.side in self._collections()
        )
        self._check()

    @property
    def tables(self) -> tuple[str, ...]:
        """Every mapped table."""
        return tuple(self._mappers)

    @property
    def collections(self) -> tuple[Collection, ...]:
        """Every collection that is written, by the order of the mappers."""
        return tuple(self._collections().values())

    @property
    def reads(self) -> dict[str, Reads]:
        """The columns to decode, by table."""
        return {table: Reads(mapper.reads, mapper.key) for table, mapper in self._mappers.items()}

    @property
    def reads_binary(self) -> bool:
        """Whether a bytea or integer array may be read: declared, or by a mapper that declares nothing."""
        return any(getattr(mapper, "reads_binary", True) for mapper in self._mappers.values())

    def tables_of(self, collection: str) -> tuple[str, ...]:
        """The tables whose rows become documents of this collection."""
        return tuple(m.table for m in self._mappers.values() if m.collection.name == collection)

    def lanes(self) -> tuple[tuple[str, ...], ...]:
        """Collections by lane: `(("organizers",), …, ("products", "product-infos"))`."""
        sides = {e.side: e.parent for e in self.enrichments}
        lanes: dict[str, list[str]] = {name: [name] for name in self._collections() if name not in sides}
        for side, parent in sides.items():
            lanes[parent].append(side)
        return tuple(tuple(names) for names in lanes.values())

    def _collections(self) -> dict[str, Collection]:
        return {m.collection.name: m.collection for m in self._mappers.values()}

    def _check(self) -> None:
        names = [mapper.collection.name for mapper in self._mappers.values()]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(
                    f"two mappers write the collection {name}: give each its own, joined by an Enrichment"
                )
        for enrichment in self.enrichments:
            parent = next(m for m in self._mappers.values() if m.collection.name == enrichment.parent)
            shared = {name for name in parent.owns if field_matches(name, enrichment.fields)}
            shared |= {name for name in enrichment.fields if field_matches(name, parent.owns)}
            if shared:
                raise ConfigError(
                    f"the mapper of {parent.table} and the enrichment of {enrichment.parent} both fill "
                    f"{', '.join(sorted(shared))}: a field has one owner"
                )
