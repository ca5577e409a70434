"""Whether the schema registry answers; one that does not is not asked again for every message."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from cdc_sync.doctor.finding import Finding, error, ok
from cdc_sync.errors import TransientError
from cdc_sync.registry import Registry

__all__ = ["AskedOnce", "check_registry"]

REGISTRY: Final = "schema registry"


class AskedOnce:
    """The schemas of a registry, which is not asked again once it has not answered."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._trouble: TransientError | None = None

    def find(self, schema_id: int) -> Sequence[str]:
        """As `Registry.find`."""
        if self._trouble is not None:
            raise self._trouble
        try:
            return self._registry.find(schema_id)
        except TransientError as trouble:
            self._trouble = trouble
            raise

    def check(self) -> str:
        """Why the registry cannot be used; empty where it can."""
        try:
            self._registry.check()
        except TransientError as trouble:
            self._trouble = trouble
            return str(trouble)
        return ""


def check_registry(url: str | None, schemas: AskedOnce | None) -> Iterator[Finding]:
    """Whether it answers, and takes the credentials; nothing where none is set."""
    if schemas is None:
        return
    problem = schemas.check()
    if problem:
        yield error(
            REGISTRY,
            problem.removeprefix(f"{REGISTRY}: "),
            "check CDC_SYNC_SCHEMA_REGISTRY__URL, its user and password, and the registry",
        )
    else:
        yield ok(REGISTRY, f"answers at {url}")
