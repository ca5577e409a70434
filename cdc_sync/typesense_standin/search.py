"""``GET …/documents/search`` and ``POST /multi_search`` (6.3)."""

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from .collection import Collection
from .context import Call, Context, json_response
from .errors import BAD_JSON, COLLECTION_NOT_FOUND, Refusal
from .filters import EVERYTHING, Rows, filter_rows
from .highlight import highlights
from .http import Response
from .jsonvalue import ParseError, parse
from .matching import Matches, TextQuery, match
from .query import (
    Page,
    SortKey,
    as_text,
    check_counts,
    read_facets,
    read_page,
    read_search_fields,
    read_sort,
)
from .schema import Field
from .selection import Selection

MAX_QUERY_CHARS = 4000
_QUERY_TOO_LONG = (
    "Query string exceeds max allowed length of 4000. Use the /multi_search end-point for larger payloads."
)


def search(context: Context, call: Call) -> Response:
    """``GET …/documents/search``: errors are compact JSON, unknown fields 404."""
    if len(call.request.target.partition("?")[2]) > MAX_QUERY_CHARS:
        raise Refusal(400, _QUERY_TOO_LONG)
    try:
        collection = context.store.find(call.params["collection"])
        return json_response(search_collection(collection, call.params))
    except Refusal as refusal:
        raise refusal.as_compact() from refusal


def multi_search(context: Context, call: Call) -> Response:
    """``POST /multi_search``: a failing search sits as ``code`` and ``error`` in the 200."""
    try:
        body = parse(call.request.body)
    except ParseError as error:
        raise Refusal(400, BAD_JSON) from error
    searches = body.get("searches") if isinstance(body, dict) else None
    if not isinstance(searches, list):
        raise Refusal(400, "Missing `searches` array.")
    if not all(isinstance(item, dict) for item in searches):
        raise Refusal(400, "The value of `searches` must be an array of objects.")
    if not searches:
        raise Refusal(500, "Embedded params parsing error.")
    results = [_one_of_many(context, item, call.params) for item in searches]
    return json_response({"results": results})


def _one_of_many(context: Context, item: dict[str, Any], common: Mapping[str, str]) -> dict[str, Any]:
    params = {key: as_text(value) for key, value in item.items()} | dict(common)
    collection = context.store.get(params.get("collection", ""))
    if collection is None:
        return {"code": 404, "error": COLLECTION_NOT_FOUND}
    try:
        return search_collection(collection, params)
    except Refusal as refusal:
        return {"code": refusal.status, "error": refusal.text}


def search_collection(collection: Collection, params: Mapping[str, str]) -> dict[str, Any]:
    """The result object of one search; raises refusals."""
    began = time.perf_counter()
    check_counts(params)
    schema = collection.schema
    q = params.get("q", "")
    fields = read_search_fields(params, schema)
    if not fields and q != "*":
        raise Refusal(400, "No search fields specified for the query.")
    rows = _filtered(collection, params)
    facets = read_facets(params, schema)
    page = read_page(params)
    keys = read_sort(params, schema)
    seqs, matches, query = _found(collection, params, fields, rows)
    shown = _ranked(collection, seqs, keys, matches)[page.start : page.start + page.size]
    selection = Selection(params, schema)
    return {
        "facet_counts": [_facet(collection, item, seqs, params) for item in facets],
        "found": len(seqs),
        "hits": [_hit(collection, seq, selection, fields, matches, query) for seq in shown],
        "out_of": len(collection.documents),
        "request_params": {
            "collection_name": collection.name,
            "first_q": q,
            "per_page": page.size,
            "q": q,
        },
        "search_cutoff": False,
        "search_time_ms": int((time.perf_counter() - began) * 1000),
        **_page_shown(page),
    }


def _found(
    collection: Collection, params: Mapping[str, str], fields: list[Field], rows: Rows
) -> tuple[list[int], Matches | None, list[str]]:
    """The rows that match query and filter, how they matched, and the words of the query."""
    q = params.get("q", "").strip()
    if q in ("", "*"):
        return rows.within(collection.documents), None, []
    query = TextQuery.read(collection, params)
    matches = match(collection, fields, query)
    kept = rows.seqs
    seqs = [seq for seq in matches.scores if (seq in kept) is not rows.complement]
    return seqs, matches, query.tokens


def _filtered(collection: Collection, params: Mapping[str, str]) -> Rows:
    text = params.get("filter_by", "").strip()
    if not text:
        return EVERYTHING
    strict = params.get("validate_field_names", "true") != "false"
    return filter_rows(collection, text, in_search=True, strict_names=strict)


def _page_shown(page: Page) -> dict[str, int]:
    return {"page": page.number} if page.offset is None else {"offset": page.offset}


def _ranked(
    collection: Collection, seqs: list[int], keys: list[SortKey], matches: Matches | None
) -> list[int]:
    """Best first; equal ones newest first; documents without a sort value last either way."""
    ranked = sorted(seqs, reverse=True)
    for key in reversed(keys):
        if key.field is None:
            if matches is not None:
                scores = matches.scores
                ranked.sort(key=scores.__getitem__, reverse=key.descending)
            continue
        values: dict[int, Any]
        if key.field.type == "string":
            values = collection.column(key.field).values
        else:
            values = collection.facet_column(key.field).values
        present = [seq for seq in ranked if seq in values]
        absent = [seq for seq in ranked if seq not in values]
        present.sort(key=values.__getitem__, reverse=key.descending)
        ranked = present + absent
    return ranked


def _hit(
    collection: Collection,
    seq: int,
    selection: Selection,
    fields: list[Field],
    matches: Matches | None,
    query: list[str],
) -> dict[str, Any]:
    document = parse(collection.documents[seq])
    shown = selection.apply(document)
    if matches is None:
        return {"document": shown, "highlight": {}, "highlights": []}
    by_field, listed = highlights(document, fields, collection.tokenizer, matches.words, query)
    score = matches.scores[seq]
    return {
        "document": shown,
        "highlight": by_field,
        "highlights": listed,
        "text_match": score,
        "text_match_info": {
            "best_field_score": str(score),
            "best_field_weight": 15,
            "fields_matched": len(listed),
            "num_tokens_dropped": len(query) - matches.token_count,
            "score": str(score),
            "tokens_matched": matches.token_count,
            "typo_prefix_score": 0,
        },
    }


def _facet(
    collection: Collection, field: Field, seqs: list[int], params: Mapping[str, str]
) -> dict[str, Any]:
    values = collection.facet_column(field).values
    counts: Counter[Any] = Counter()
    for seq in seqs:
        value = values.get(seq)
        if isinstance(value, tuple):
            counts.update(value)
        elif value is not None:
            counts[value] += 1
    limit = int(params.get("max_facet_values", "10"))
    top = sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))[:limit]
    stats: dict[str, float] = {"total_values": len(top)}
    if counts and field.item_type in ("int32", "int64", "float"):
        total = sum(value * count for value, count in counts.items())
        stats |= {
            "avg": total / counts.total(),
            "max": float(max(counts)),
            "min": float(min(counts)),
            "sum": float(total),
        }
    return {
        "counts": [
            {"count": count, "highlighted": as_text(value), "value": as_text(value)} for value, count in top
        ],
        "field_name": field.name,
        "sampled": False,
        "stats": stats,
    }
