"""The demo's look at the search server: what a shop's own pages would ask of Typesense."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final
from urllib.parse import quote, urlencode

from cdc_sync.errors import CdcSyncError

__all__ = ["KEY_HEADER", "SEARCH", "Index"]

KEY_HEADER: Final = "X-TYPESENSE-API-KEY"

SEARCH: Final[Mapping[str, str]] = {
    "query_by": "name_vi,name_en,tags,description_vi,description_en",
    "exclude_fields": "description_vi,description_en,images",
}
"""Names weigh more than tags, and tags more than descriptions."""

TIMEOUT_S: Final = 5.0


class Index:
    """One connection to the server. Not for two threads at once."""

    def __init__(self, port: int, api_key: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
        self._headers = {KEY_HEADER: api_key}

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._connection.close()

    def document(self, collection: str, identity: str) -> dict[str, Any] | None:
        """A document, if it is there."""
        found = self._get(f"/collections/{collection}/documents/{quote(identity, safe='')}")
        return None if found is None else json.loads(found)

    def documents(self, collection: str) -> dict[str, dict[str, Any]]:
        """Every document of a collection, by id."""
        found = self._get(f"/collections/{collection}/documents/export") or b""
        documents = [json.loads(line) for line in found.splitlines()]
        return {document["id"]: document for document in documents}

    def count(self, collection: str) -> int:
        """How many documents a collection holds."""
        found = self._get(f"/collections/{collection}")
        return 0 if found is None else int(json.loads(found)["num_documents"])

    def search(self, query: str, **options: str | int) -> dict[str, Any]:
        """What the server answers to a search for products. Raises `CdcSyncError` with its words."""
        parameters = urlencode({**SEARCH, "q": query, **options})
        found = self._get(f"/collections/products/documents/search?{parameters}")
        if found is None:
            raise CdcSyncError("there are no products yet")
        answer: dict[str, Any] = json.loads(found)
        return answer

    def names(self, collection: str) -> dict[str, str]:
        """Id → name in Vietnamese, for the labels of hits and facets."""
        return {i: str(d.get("name_vi", i)) for i, d in self.documents(collection).items()}

    def _get(self, path: str) -> bytes | None:
        """The body of the answer; None for 404. Raises `CdcSyncError`."""
        try:
            self._connection.request("GET", path, headers=self._headers)
            answer = self._connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise CdcSyncError(f"the stand-in for Typesense does not answer: {error}") from error
        if answer.status == HTTPStatus.NOT_FOUND:
            return None
        if answer.status != HTTPStatus.OK:
            raise CdcSyncError(json.loads(body).get("message", f"HTTP {answer.status}"))
        return body
