"""Highlights of a hit: the matched words of a text between ``<mark>`` and ``</mark>``."""

from typing import Any

from .schema import Field
from .tokens import Tokenizer

SNIPPET_WORDS = 30
"""A longer text is cut to a snippet around its first match."""
AFFIX_WORDS = 4


def highlights(
    document: dict[str, Any],
    fields: list[Field],
    tokenizer: Tokenizer,
    words: frozenset[str],
    query: list[str],
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The ``highlight`` object and the ``highlights`` array of a hit."""
    by_field: dict[str, Any] = {}
    listed: list[dict[str, Any]] = []
    for field in fields:
        value = document.get(field.name)
        if isinstance(value, str):
            shown = _mark(value, tokenizer, words, query)
            if shown["matched_tokens"]:
                by_field[field.name] = shown
                listed.append({"field": field.name, **shown})
        elif isinstance(value, list):
            items = [_mark(item, tokenizer, words, query) for item in value if isinstance(item, str)]
            hit = [number for number, item in enumerate(items) if item["matched_tokens"]]
            if hit:
                by_field[field.name] = items
                listed.append(
                    {
                        "field": field.name,
                        "indices": hit,
                        "matched_tokens": [items[number]["matched_tokens"] for number in hit],
                        "snippets": [items[number]["snippet"] for number in hit],
                    }
                )
    return by_field, listed


def _mark(text: str, tokenizer: Tokenizer, words: frozenset[str], query: list[str]) -> dict[str, Any]:
    found = tokenizer.words(text)
    hits = [number for number, (_, _, token) in enumerate(found) if token in words]
    if not hits:
        return {"matched_tokens": [], "snippet": text}
    first, last = 0, len(found) - 1
    if len(found) > SNIPPET_WORDS:
        first = max(0, hits[0] - AFFIX_WORDS)
        last = min(last, hits[0] + AFFIX_WORDS)
    start = found[first][0] if first else 0
    end = found[last][1] if last < len(found) - 1 else len(text)
    snippet, position = "", start
    matched: dict[str, None] = {}
    for number in hits:
        if not first <= number <= last:
            continue
        begin, stop, token = found[number]
        stop = _mark_end(text, begin, stop, token, query)
        snippet += text[position:begin] + "<mark>" + text[begin:stop] + "</mark>"
        matched[text[begin:stop]] = None
        position = stop
    return {"matched_tokens": list(matched), "snippet": snippet + text[position:end]}


def _mark_end(text: str, begin: int, end: int, token: str, query: list[str]) -> int:
    """Only the typed beginning of a word is marked when the query was its prefix."""
    if query and token != query[-1] and token.startswith(query[-1]) and token not in query:
        return min(end, begin + len(query[-1]))
    while end > begin + 1 and not text[end - 1].isalnum():
        end -= 1
    return end
