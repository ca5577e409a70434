"""Hits, facets and changes as lines of text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from cdc_sync.demo.index import Index
from cdc_sync.demo.screen import Screen, dong, duration
from cdc_sync.demo.trickle import Arrival

__all__ = ["Shopfront"]

FACETS: Final = {"merchantId": "shop", "categoryId": "category", "tags": "tag", "isAvailable": "available"}
FACET_VALUES: Final = 6
TIME_CHARS: Final = 8
KIND_CHARS: Final = 10
BEFORE_WHAT_CHARS: Final = TIME_CHARS + KIND_CHARS + 5
SNIPPET_FIELDS: Final = ("description_vi", "description_en")


class Shopfront:
    """Shows what the search server answers, with names for the ids in it."""

    def __init__(self, screen: Screen, index: Index) -> None:
        self._screen = screen
        self._index = index

    def show_hits(self, query: str, limit: int = 5) -> None:
        """The best products for a query."""
        answer = self._index.search(query, per_page=limit)
        shops = self._index.names("merchants")
        found, hits = answer["found"], answer["hits"]
        self._screen.line(f"  {self._screen.bold(query)} — {found} of {answer['out_of']} products")
        for number, hit in enumerate(hits, 1):
            self._show_hit(number, hit, shops)
        if found > len(hits):
            self._screen.line(self._screen.dim(f"     … and {found - len(hits)} more"))

    def _show_hit(self, number: int, hit: Mapping[str, Any], shops: Mapping[str, str]) -> None:
        document, highlight = hit["document"], hit["highlight"]

        def shown(field: str) -> str | None:
            plain = document.get(field)
            return self._screen.marked(highlight.get(field, {}).get("snippet", plain)) if plain else None

        names = [name for name in (shown("name_vi"), shown("name_en")) if name]
        self._screen.line(f"  {number:>2} {' · '.join(names) or document['id'] + ' (no texts yet)'}")
        facts = [
            dong(document["basePrice"]) if "basePrice" in document else "price on request",
            f"{document['stock']} in stock" if document.get("stock") else "sold out",
            shops.get(document["merchantId"], document["merchantId"]),
            " ".join(f"#{tag}" for tag in document.get("tags", [])),
        ]
        self._screen.line("     " + self._screen.dim(" · ".join(fact for fact in facts if fact)))
        snippets = [highlight[field]["snippet"] for field in SNIPPET_FIELDS if field in highlight]
        if snippets and not {"name_vi", "name_en"} & highlight.keys():
            self._screen.line(f"     “…{self._screen.marked(snippets[0])}…”")

    def show_facets(self, query: str) -> None:
        """How the products for a query spread."""
        answer = self._index.search(
            query, per_page=0, facet_by=",".join(FACETS), max_facet_values=FACET_VALUES
        )
        labels = {
            "merchantId": self._index.names("merchants"),
            "categoryId": self._index.names("categories"),
            "isAvailable": {"true": "yes", "false": "no"},
        }
        self._screen.line(f"  {self._screen.bold(query)} — {answer['found']} products")
        for facet in answer["facet_counts"]:
            names = labels.get(facet["field_name"], {})
            values = [f"{names.get(c['value'], c['value'])} {c['count']}" for c in facet["counts"]]
            self._screen.fact(FACETS[facet["field_name"]], " · ".join(values))

    def show_arrival(self, arrival: Arrival) -> None:
        """A change, and how long it took."""
        screen, step = self._screen, arrival.step
        what = step.what if screen.width is None else step.what[: max(0, screen.width - BEFORE_WHAT_CHARS)]
        if arrival.is_lost:
            how = screen.bad("not searchable yet")
        elif arrival.seconds is None:
            how = screen.dim("nothing to change")
        else:
            how = screen.good(duration(arrival.seconds))
        how = " " * (TIME_CHARS - visible(how)) + how
        screen.line(f"  {how}  {screen.accent(f'{step.kind:<{KIND_CHARS}}')} {what}")


def visible(text: str) -> int:
    """Characters without the colours."""
    parts = text.split("\033[")
    return len(parts[0]) + sum(len(part.partition("m")[2]) for part in parts[1:])
