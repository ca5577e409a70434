"""Reading search parameters: fields, sorting, paging, with the recorded error texts."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import Refusal
from .schema import Field, Schema

MAX_PER_PAGE = 250
_UNSIGNED = re.compile(r"[0-9]+", re.ASCII)
_SORT_PART = re.compile(r"(?:[^,(]|\([^)]*\))+")
_COUNTS = ("page", "per_page", "offset", "limit", "max_facet_values", "num_typos")


@dataclass(frozen=True, slots=True)
class SortKey:
    """One key of ``sort_by``; ``field`` is None for the text match."""

    field: Field | None
    descending: bool


@dataclass(frozen=True, slots=True)
class Page:
    """Which hits are shown. ``offset`` is set when it was asked for instead of a page."""

    number: int
    size: int
    offset: int | None

    @property
    def start(self) -> int:
        return self.offset if self.offset is not None else (self.number - 1) * self.size


def check_counts(params: Mapping[str, str]) -> None:
    """Refuse counts that are no unsigned integers."""
    for name in _COUNTS:
        text = params.get(name)
        # num_typos may be a list, one for each field of query_by
        parts = text.split(",") if text is not None and name == "num_typos" else [text]
        for part in parts:
            if part is not None and _UNSIGNED.fullmatch(part.strip()) is None:
                raise Refusal(400, f"Parameter `{name}` must be an unsigned integer.")


def read_page(params: Mapping[str, str]) -> Page:
    """Paging; more than 250 hits a page are 422."""
    size = int(params.get("limit", params.get("per_page", "10")))
    if "per_page" in params:
        size = int(params["per_page"])
    if size > MAX_PER_PAGE:
        raise Refusal(422, f"Only upto {MAX_PER_PAGE} hits can be fetched per page.")
    offset = int(params["offset"]) if params.get("offset") else None
    if "page" in params:
        offset = None
    return Page(max(1, int(params.get("page", "1"))), size, offset)


def read_search_fields(params: Mapping[str, str], schema: Schema) -> list[Field]:
    """The fields of ``query_by``; ``name_*`` stands for every string field that begins so."""
    fields: list[Field] = []
    for part in params.get("query_by", "").split(","):
        name = part.strip()
        if not name:
            continue
        if name.endswith("*"):
            found = [
                item
                for item in schema.concrete
                if item.name.startswith(name[:-1]) and item.item_type == "string" and item.index
            ]
        else:
            found = [_search_field(name, schema)]
        if not found:
            raise Refusal(404, f"Could not find a field named `{name}` in the schema.")
        fields += [item for item in found if item not in fields]
    return fields


def _search_field(name: str, schema: Schema) -> Field:
    found = schema.by_name.get(name)
    if found is None or found.is_dynamic:
        raise Refusal(404, f"Could not find a field named `{name}` in the schema.")
    if not found.index:
        text = f"Field `{name}` is marked as a non-indexed field in the schema."
        raise Refusal(400, text)
    if found.item_type != "string":
        raise Refusal(400, f"Field `{name}` should be a string or a string array.")
    return found


def read_sort(params: Mapping[str, str], schema: Schema) -> list[SortKey]:
    """The keys of ``sort_by``, else text match and default sorting field, both descending."""
    text = params.get("sort_by", "").strip()
    if not text:
        keys = [SortKey(None, True)]
        default = schema.by_name.get(schema.default_sorting_field)
        return [*keys, SortKey(default, True)] if default else keys
    parts = _SORT_PART.findall(text)
    keys = [_sort_key(part, schema) for part in parts]
    if len(keys) > 3:
        raise Refusal(400, "Only upto 3 sort fields are allowed.")
    return keys


def _sort_key(part: str, schema: Schema) -> SortKey:
    name, colon, order = part.strip().rpartition(":")
    if not colon or not name:
        raise Refusal(400, "Parameter `sort_by` is malformed.")
    name = name.split("(")[0].strip()
    order = order.strip().upper()
    field = schema.by_name.get(name)
    if name != "_text_match" and (field is None or not field.sort or field.is_dynamic):
        text = f"Could not find a field named `{name}` in the schema for sorting."
        raise Refusal(404, text)
    if order not in ("ASC", "DESC"):
        raise Refusal(400, f"Order for field` {name}` should be either ASC or DESC.")
    return SortKey(field, order == "DESC")


def read_facets(params: Mapping[str, str], schema: Schema) -> list[Field]:
    """The fields of ``facet_by``; a ``*`` at the end stands for every facet that begins so."""
    fields: list[Field] = []
    for part in params.get("facet_by", "").split(","):
        name = part.strip().split("(")[0]
        if not name:
            continue
        facets = [item for item in schema.concrete if item.facet]
        if name.endswith("*"):
            fields += [item for item in facets if item.name.startswith(name[:-1])]
            continue
        found = next((item for item in facets if item.name == name), None)
        if found is None:
            raise Refusal(404, f"Could not find a facet field named `{name}` in the schema.")
        fields.append(found)
    return fields


def as_text(value: Any) -> str:
    """A parameter from a JSON body as its query-string text."""
    match value:
        case bool():
            return "true" if value else "false"
        case list():
            return ",".join(as_text(item) for item in value)
    return str(value)
