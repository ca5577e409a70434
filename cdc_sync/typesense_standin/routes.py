"""The routes of the server and how a request finds its own (0.1, "Routing and decoding")."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from . import catalog, documents, system
from .context import Call, Context
from .errors import JSON, PLAIN_JSON
from .http import Request, Response
from .search import multi_search, search

ReadHandler = Callable[[Context, Call], Response]
WriteHandler = Callable[[Context, Call], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Route:
    """A method and a path pattern; exactly one of the two handlers is set."""

    method: str
    pattern: tuple[str, ...]
    read: ReadHandler | None = None
    write: WriteHandler | None = None
    error_type: str = JSON
    is_open: bool = False
    """Answers without a key."""
    skips_readiness: bool = False

    def path_params(self, request: Request) -> dict[str, str] | None:
        """Values of the ``:name`` segments, or None when the path is another one.

        Fixed segments are compared as sent: case-sensitive and not decoded.
        """
        if len(self.pattern) != len(request.raw_segments) or self.method != request.method:
            return None
        params: dict[str, str] = {}
        for wanted, raw, decoded in zip(self.pattern, request.raw_segments, request.segments, strict=True):
            if wanted.startswith(":"):
                params[wanted[1:]] = decoded
            elif wanted != raw:
                return None
        return params


def _read(method: str, path: str, handler: ReadHandler) -> Route:
    return Route(method, _pattern(path), read=handler)


def _system(method: str, path: str, handler: ReadHandler, is_open: bool = False) -> Route:
    return Route(method, _pattern(path), read=handler, is_open=is_open, skips_readiness=True)


def _write(method: str, path: str, handler: WriteHandler, error_type: str = JSON) -> Route:
    return Route(method, _pattern(path), write=handler, error_type=error_type)


def _pattern(path: str) -> tuple[str, ...]:
    return tuple(path.strip("/").split("/"))


_COLLECTION = "/collections/:collection"
_DOCUMENTS = _COLLECTION + "/documents"

ROUTES = (
    _read("GET", _DOCUMENTS + "/search", search),
    _read("GET", _DOCUMENTS + "/export", documents.export_documents),
    _write("POST", _DOCUMENTS + "/import", documents.import_documents),
    _write("POST", _DOCUMENTS, documents.post_document),
    _write("DELETE", _DOCUMENTS, documents.delete_documents, PLAIN_JSON),
    _write("PATCH", _DOCUMENTS, documents.patch_documents),
    _read("GET", _DOCUMENTS + "/:id", documents.get_document),
    _write("PATCH", _DOCUMENTS + "/:id", documents.patch_document),
    _write("DELETE", _DOCUMENTS + "/:id", documents.delete_document),
    _read("GET", "/collections", catalog.list_collections),
    _write("POST", "/collections", catalog.create_collection),
    _read("GET", _COLLECTION, catalog.get_collection),
    _write("PATCH", _COLLECTION, catalog.patch_collection),
    _write("DELETE", _COLLECTION, catalog.delete_collection),
    _read("GET", _COLLECTION + "/synonyms", system.empty_listing("synonyms")),
    _read("GET", _COLLECTION + "/overrides", system.empty_listing("overrides")),
    _read("GET", "/aliases", catalog.list_aliases),
    _read("GET", "/aliases/:alias", catalog.get_alias),
    _write("PUT", "/aliases/:alias", catalog.put_alias),
    _write("DELETE", "/aliases/:alias", catalog.delete_alias),
    _read("POST", "/multi_search", multi_search),
    _read("GET", "/keys", system.empty_listing("keys")),
    _read("GET", "/presets", system.empty_listing("presets")),
    _read("GET", "/stopwords", system.empty_listing("stopwords")),
    _system("GET", "/health", system.health, is_open=True),
    _system("POST", "/health", system.health, is_open=True),
    _system("GET", "/debug", system.debug),
    _system("GET", "/status", system.status),
    _system("GET", "/stats.json", system.stats),
    _system("GET", "/metrics.json", system.metrics),
    _system("GET", "/operations/schema_changes", catalog.schema_changes),
    _system("POST", "/config", system.set_config),
)


def find_route(request: Request) -> tuple[Route, dict[str, str]] | None:
    """The first route that fits, and the path's parameters."""
    for route in ROUTES:
        params = route.path_params(request)
        if params is not None:
            return route, params
    return None
