"""Handlers of documents: single ones, by filter, and import (sections 3 and 4)."""

from dataclasses import replace
from typing import Any

from .collection import Collection, id_of
from .context import Call, Context, breathe, json_response
from .errors import (
    BAD_REQUEST,
    FILTER_REQUIRED,
    NOT_AN_OBJECT,
    PLAIN_JSON,
    TEXT,
    Refusal,
    missing_document,
)
from .filters import EVERYTHING, filter_rows
from .http import Response
from .importer import LineImport, check_batch_size, read_mode, read_options, split_lines
from .jsonvalue import ParseError, encode, parse
from .selection import Selection, export
from .writer import DocumentWriter, checked_action, checked_id

_OTHER_ID = "The `id` of the resource does not match the `id` in the JSON body."
FILTER_ROWS = 500
"""Rows changed by one filter before other requests get their turn."""


def get_document(context: Context, call: Call) -> Response:
    """``GET …/documents/:id``."""
    collection = context.store.find(call.params["collection"])
    raw = collection.get(call.params["id"])
    if raw is None:
        raise missing_document(call.params["id"])
    return Response(200, Selection(call.params, collection.schema).renderer()(raw))


def export_documents(context: Context, call: Call) -> Response:
    """``GET …/documents/export``."""
    collection = context.store.find(call.params["collection"])
    return Response(200, content_type=TEXT, stream=export(collection, call.params))


def _parse_document(body: bytes) -> dict[str, Any]:
    try:
        document = parse(body)
    except ParseError as error:
        raise Refusal(400, f"Bad JSON: {error}", compact=True) from error
    if not isinstance(document, dict):
        raise Refusal(400, NOT_AN_OBJECT)
    return document


async def post_document(context: Context, call: Call) -> Response:
    """``POST …/documents``: always 201 with the whole stored document."""
    action = checked_action(call.params.get("action", "create"))
    collection = call.collection(context)
    document = _parse_document(call.request.body)
    writer = DocumentWriter(collection, context.journal, read_mode(call.params))
    try:
        document_id = checked_id(document, action)
        if call.poison is not None and call.poison([call.request.body]):
            raise Refusal(500, "Unhandled Typesense error in index batch, check logs for details.")
        if document_id is None:
            seq = collection.take_seq()
            document["id"] = str(seq)
            raw = writer.insert(document, seq, action)
        else:
            raw = writer.write(document, document_id, action)
    except Refusal as refusal:
        raise refusal.as_compact() from refusal
    finally:
        writer.flush()
    return Response(201, raw)


async def patch_document(context: Context, call: Call) -> Response:
    """``PATCH …/documents/:id``: 200 with the whole merged document."""
    collection = call.collection(context)
    document = _parse_document(call.request.body)
    document_id = call.params["id"]
    if document.setdefault("id", document_id) != document_id:
        raise Refusal(400, _OTHER_ID)
    writer = DocumentWriter(collection, context.journal, read_mode(call.params))
    try:
        raw = writer.write(document, document_id, "update")
    finally:
        writer.flush()
    return Response(200, raw)


async def delete_document(context: Context, call: Call) -> Response:
    """``DELETE …/documents/:id``: 200 with the deleted document."""
    collection = call.collection(context)
    document_id = call.params["id"]
    raw = collection.get(document_id)
    if raw is None:
        if call.params.get("ignore_not_found") == "true":
            return json_response({"id": document_id})
        raise missing_document(document_id)
    _remove(context, collection, [collection.ids[document_id]])
    return Response(200, raw)


def _remove(context: Context, collection: Collection, seqs: list[int]) -> None:
    collection.remove(seqs)
    context.journal.removed(collection, seqs)


async def import_documents(context: Context, call: Call) -> Response:
    """``POST …/documents/import``."""
    options = read_options(call.params)
    collection = call.collection(context)
    lines = split_lines(call.request.body)[: call.line_limit]
    importing = LineImport(collection, context.journal, options, call.poison)
    results: list[bytes] = []
    for part in importing.slices(lines):
        results += importing.run(part)
        if len(part) < len(lines):
            await breathe()
    return Response(200, b"\n".join(results), TEXT)


async def delete_documents(context: Context, call: Call) -> Response:
    """``DELETE …/documents``: by filter, ``truncate`` or ``top_k_by``."""
    params = call.params
    if "top_k_by" in params:
        return _keep_top(context, call)
    if params.get("truncate") == "true":
        return _truncate(context, call)
    if "filter_by" not in params:
        raise Refusal(400, FILTER_REQUIRED)
    check_batch_size(params)
    collection = call.collection(context)
    seqs = _matching(collection, call)
    removed = [collection.documents[seq] for seq in seqs]
    answer: dict[str, Any] = {"num_deleted": len(seqs)}
    if removed and params.get("return_id") == "true":
        answer["ids"] = [id_of(raw) for raw in removed]
    if removed and params.get("return_doc") == "true":
        answer["documents"] = [parse(raw) for raw in removed]
    if seqs:
        _remove(context, collection, seqs)
    return replace(json_response(answer), content_type=PLAIN_JSON)


def _matching(collection: Collection, call: Call) -> list[int]:
    text = call.params["filter_by"].strip()
    if not text:
        return []
    strict = call.params.get("validate_field_names", "true") != "false"
    rows = filter_rows(collection, text, strict_names=strict)
    return rows.within(collection.documents)


def _truncate(context: Context, call: Call) -> Response:
    collection = call.collection(context)
    count = len(collection.documents)
    if count:
        collection.clear()
        context.journal.cleared(collection)
    return Response(200, encode({"num_deleted": count}), PLAIN_JSON)


def _keep_top(context: Context, call: Call) -> Response:
    """Keep the documents with the largest values of a field."""
    name, _, count = call.params["top_k_by"].partition(":")
    collection = call.collection(context)
    field = collection.schema.by_name.get(name)
    if field is None or not count.isdecimal():
        raise Refusal(400, "The `top_k_by` parameter is not valid.")
    values = collection.column(field).values
    ranked = sorted(collection.documents, key=lambda seq: (seq in values, values.get(seq, 0)))
    surplus = len(ranked) - int(count)
    if surplus > 0:
        _remove(context, collection, ranked[:surplus])
    return Response(200, b'{"ok": true}', PLAIN_JSON)


async def patch_documents(context: Context, call: Call) -> Response:
    """``PATCH …/documents``: the same patch for every match of a filter."""
    if "filter_by" not in call.params:
        raise Refusal(400, FILTER_REQUIRED)
    collection = call.collection(context)
    try:
        patch = parse(call.request.body)
    except ParseError as error:
        raise Refusal(400, f"Bad JSON: {error}", compact=True) from error
    if not isinstance(patch, dict):
        raise Refusal(400, BAD_REQUEST)
    text = call.params["filter_by"].strip()
    if text == "*":
        seqs = EVERYTHING.within(collection.documents)
    elif text:
        seqs = filter_rows(collection, text, in_search=True).within(collection.documents)
    else:
        seqs = []
    writer = DocumentWriter(collection, context.journal, read_mode(call.params))
    updated = 0
    for count, seq in enumerate(seqs, 1):
        document_id = id_of(collection.documents[seq])
        try:
            writer.write(patch | {"id": document_id}, document_id, "update")
            updated += 1
        except Refusal:
            pass  # a document that refuses the patch is not counted
        if count % FILTER_ROWS == 0:
            writer.flush()
            await breathe()
    writer.flush()
    return json_response({"num_updated": updated})
