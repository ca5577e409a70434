"""The schema registry's HTTP interface (Confluent's, which Apicurio, Karapace and others have too).

A schema never changes under its id, so it is asked for once; that an id is unknown is believed for half a
minute. Each call either knows or raises; who waits for a registry that is away is `admission.py`.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

import httpx

from cdc_sync.errors import DecodeError, RegistryUnavailable

__all__ = ["Registry"]

UNKNOWN_FOR_S: Final = 30.0
AGAIN_AFTER_S: Final = 0.5
ACCEPT: Final = "application/vnd.schemaregistry.v1+json, application/json"
TYPES: Final = "/schemas/types"
NOT_FOUND: Final = frozenset({40401, 40402, 40403})
"""No such subject, version, schema: what the interface says of a question that it has understood."""
NO_REGISTRY: Final = "this is no answer of a schema registry; check CDC_SYNC_SCHEMA_REGISTRY__URL"
REFUSED: Final = "refused; check CDC_SYNC_SCHEMA_REGISTRY__USERNAME and CDC_SYNC_SCHEMA_REGISTRY__PASSWORD"

Observe = Callable[[str], None]
"""Told how each request ended: `found`, `unknown` or `unavailable`."""


class Registry:
    """Schemas by id. `auth` is a name and password; `tls` the certificates to trust, None for the system's.

    `url` is the root of the interface, with a path where it has one. Safe to call from any thread.
    """

    def __init__(
        self,
        url: str,
        *,
        auth: tuple[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        timeout_s: float = 5.0,
        observe: Observe = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = url.rstrip("/")
        self._http = httpx.Client(
            auth=auth,
            verify=tls if tls is not None else True,
            timeout=timeout_s,
            headers={"Accept": ACCEPT},
        )
        self._observe = observe
        self._clock = clock
        self._sleep = sleep
        self._known: dict[int, Sequence[str]] = {}
        self._unknown: dict[int, tuple[float, str]] = {}

    def find(self, schema_id: int) -> Sequence[str]:
        """The schema as text, last, after those that it refers to.

        Raises `DecodeError` for an id that the registry does not know and for what is not Avro,
        `RegistryUnavailable` for everything that is not about the id.
        """
        known = self._known.get(schema_id)
        if known is not None:
            return known
        until, reason = self._unknown.get(schema_id, (0.0, ""))
        if reason and self._clock() < until:
            raise DecodeError(reason)
        try:
            texts = self._fetch(schema_id)
        except DecodeError as error:
            now = self._clock()
            self._unknown = {i: u for i, u in self._unknown.items() if u[0] > now}
            self._unknown[schema_id] = now + UNKNOWN_FOR_S, str(error)
            raise
        self._known[schema_id] = texts
        return texts

    def check(self) -> None:
        """Ask for what every registry tells to anybody whom it knows. Raises `RegistryUnavailable`."""
        self._get(TYPES)

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def _fetch(self, schema_id: int) -> Sequence[str]:
        answer = self._get(f"/schemas/ids/{schema_id}")
        if answer is None:  # a replica of the registry may not have heard yet of what is new
            self._sleep(AGAIN_AFTER_S)
            answer = self._get(f"/schemas/ids/{schema_id}")
        if answer is None:
            raise DecodeError(f"the registry at {self.url} has no schema with the id {schema_id}")
        kind = answer.get("schemaType") or "AVRO"
        if kind != "AVRO":
            raise DecodeError(f"the schema {schema_id} of the registry at {self.url} is {kind}, not Avro")
        texts: dict[tuple[str, int], str] = {}
        self._fetch_references(answer, texts)
        return (*texts.values(), text_of(answer))

    def _fetch_references(self, answer: Mapping[str, Any], texts: dict[tuple[str, int], str]) -> None:
        """What a schema refers to, each after what it refers to itself."""
        for subject, version in references_of(answer):
            if (subject, version) in texts:
                continue
            referred = self._get(f"/subjects/{quote(subject, safe='')}/versions/{version}")
            if referred is None:
                raise DecodeError(
                    f"the registry at {self.url} has no version {version} of {subject}, which a schema names"
                )
            self._fetch_references(referred, texts)
            texts[subject, version] = text_of(referred)

    def _get(self, path: str) -> Any:
        """What the registry answers; None where it says that there is no such thing."""
        try:
            response = self._http.get(self.url + path)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise self._unavailable(path, describe(error)) from error
        if response.status_code == 200:
            answer = self._json(path, response)
            self._observe("found")
            return answer
        if response.status_code == 404 and error_code(response) in NOT_FOUND:
            self._observe("unknown")
            return None
        if response.status_code in (401, 403):
            raise self._unavailable(path, REFUSED)
        if response.status_code == 404 or response.is_redirect:
            raise self._unavailable(path, f"{response.status_code}: {NO_REGISTRY}")
        raise self._unavailable(path, f"answers {response.status_code}")

    def _json(self, path: str, response: httpx.Response) -> Any:
        try:
            answer = response.json()
        except ValueError as error:
            raise self._unavailable(path, NO_REGISTRY) from error
        is_right = isinstance(answer, list)
        if path != TYPES:
            is_right = isinstance(answer, dict) and isinstance(answer.get("schema"), str)
        if not is_right:
            raise self._unavailable(path, NO_REGISTRY)
        return answer

    def _unavailable(self, path: str, reason: str) -> RegistryUnavailable:
        self._observe("unavailable")
        return RegistryUnavailable(f"schema registry: {self.url}{path}: {reason}")


def text_of(answer: Mapping[str, Any]) -> str:
    """The schema in an answer."""
    return str(answer["schema"])


def references_of(answer: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Subject and version of what a schema refers to. Raises `DecodeError`."""
    try:
        return [(str(r["subject"]), int(r["version"])) for r in answer.get("references") or ()]
    except (TypeError, KeyError, ValueError) as error:
        raise DecodeError("the registry's schema has references that are none") from error


def error_code(response: httpx.Response) -> int | None:
    """The interface's own number of an error."""
    try:
        answer = response.json()
    except ValueError:
        return None
    return answer.get("error_code") if isinstance(answer, dict) else None


def describe(error: Exception) -> str:
    """An exception's text, or its name where it has none."""
    return str(error) or type(error).__name__
