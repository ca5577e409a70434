"""Collections and aliases: made where they are missing, compared where they are not, never altered.

A collection is versioned: the alias `products` names `products_1`, later `products_2`, …. The first
version has a fixed name, so replicas that start together make the same one. These are rare calls, so they
go through the official client, without its retries (the caller waits and tries again).
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, cast
from urllib.parse import quote

import httpx
import typesense
from typesense import exceptions

from cdc_sync.errors import SinkMisconfigured, SinkUnavailable
from cdc_sync.schema import Collection, schema_differences
from cdc_sync.sink.answers import failure, stored_documents
from cdc_sync.sink.connection import Connection, describe

__all__ = ["Collections", "client_of", "resolve_aliases"]

NO_TYPESENSE: Final = "this is no answer of Typesense; check CDC_SYNC_TYPESENSE__URL"


def client_of(
    urls: Sequence[str], api_key: str, *, timeout_s: float = 10.0, tls: ssl.SSLContext | None = None
) -> typesense.Client:
    """The official client for the calls that are not about documents."""
    return typesense.Client(
        {
            "nodes": list(urls),
            "api_key": api_key,
            "connection_timeout_seconds": timeout_s,
            "num_retries": 0,
            "verify": tls if tls is not None else True,
        }
    )


class Collections:
    """What a Typesense has of the collections that mappers declare."""

    def __init__(self, client: typesense.Client) -> None:
        self._client = client

    def ensure(self, collection: Collection) -> tuple[str, list[str]]:
        """The real collection behind the alias, made when there is none, and how its schema differs.

        Raises `SinkMisconfigured` where the alias dangles or a collection stands in its place.
        """
        real = self.real_name(collection.name)
        if real is None:
            real = f"{collection.name}_1"
            self._create(collection, real)
        found = self.found(real)
        if found is None:
            raise SinkMisconfigured(
                f"the alias {collection.name} points to {real}, which does not exist: point it to an "
                f"existing collection, or delete the alias and run `cdc-sync reindex {collection.name}`"
            )
        with translated(f"collection {real}"):
            fields = found["fields"]
        return real, schema_differences(collection, fields)

    def real_name(self, alias: str) -> str | None:
        """What the alias points to; None when there is no such alias."""
        with translated(f"alias {alias}"):
            try:
                return str(self._client.aliases[alias].retrieve()["collection_name"])
            except exceptions.ObjectNotFound:
                return None

    def found(self, name: str) -> Mapping[str, Any] | None:
        """The collection's own description; None when it does not exist."""
        with translated(f"collection {name}"):
            try:
                return cast(Mapping[str, Any], self._client.collections[name].retrieve())
            except exceptions.ObjectNotFound:
                return None

    def close(self) -> None:
        """Let go of the client's connections."""
        self._client.api_call.close()

    def _create(self, collection: Collection, real: str) -> None:
        if self.found(collection.name) is not None:
            raise SinkMisconfigured(
                f"a collection named {collection.name} stands where its alias should be: copy or drop it, so "
                f"that {collection.name} can be an alias of {real}"
            )
        with translated(f"collection {real}"):
            # There already: another replica was faster, or a first start was cut short.
            with suppress(exceptions.ObjectAlreadyExists):
                self._client.collections.create(cast(Any, collection.as_json(real)))
            self._client.aliases.upsert(collection.name, {"collection_name": real})


@contextmanager
def translated(what: str) -> Iterator[None]:
    """The official client's errors as ours."""
    try:
        yield
    except exceptions.RequestUnauthorized as error:
        raise SinkMisconfigured(
            f"{what}: Typesense refused the key; check CDC_SYNC_TYPESENSE__API_KEY"
        ) from error
    except (exceptions.RequestMalformed, exceptions.RequestForbidden) as error:
        raise SinkMisconfigured(f"{what}: {error}") from error
    except (ValueError, LookupError, TypeError) as error:
        raise SinkMisconfigured(f"{what}: {NO_TYPESENSE}") from error
    except (exceptions.TypesenseClientError, httpx.HTTPError, OSError) as error:
        raise SinkUnavailable(f"{what}: {describe(error)}") from error


def resolve_aliases(connection: Connection, aliases: Sequence[str]) -> dict[str, str]:
    """Alias → real collection, over a writer's own connection. Raises `TransientError`."""
    names = {}
    for alias in aliases:
        answer = connection.request("resolve", "GET", f"/aliases/{quote(alias, safe='')}")
        if answer.status == 404:
            raise SinkMisconfigured(
                f"the alias {alias} is gone: create it again, or restart cdc-sync to begin with an empty "
                "collection and then reindex"
            )
        error = failure("resolve", answer)
        if error is not None:
            raise error
        with translated(f"alias {alias}"):
            names[alias] = str(stored_documents(answer)[0]["collection_name"])
    return names
