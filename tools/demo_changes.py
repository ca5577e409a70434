"""One day at the demo's shops: the changes of the catalogue, in order, the same for the same seed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random
from typing import Any, Final, NamedTuple

from tools.demo_rows import LONG_STORIES_EVERY, POISON_ID, Row, Rows, localized, story

__all__ = ["Change", "Write", "day"]

DELETED_AT: Final = "2026-03-03 04:00:00+00"


class Write(NamedTuple):
    """A row written: inserted when `is_new`, deleted when `columns` is None, else updated."""

    table: str
    id: str
    columns: Row | None
    is_new: bool = False


class Change(NamedTuple):
    """What happens at one moment: one or more transactions, each of one or more writes."""

    kind: str
    what: str
    transactions: tuple[tuple[Write, ...], ...]


def change(kind: str, what: str, *writes: Write) -> Change:
    """A change of one transaction."""
    return Change(kind, what, (writes,))


def day(random: Random, rows: Rows) -> list[Change]:
    """The day's changes; those of one row keep their order, the others are mixed."""
    threads = list(Day(random, rows).threads())
    changes = []
    while threads:
        thread = random.choice(threads)
        changes.append(thread.pop(0))
        threads = [t for t in threads if t]
    return changes


class Day:
    """Makes threads of changes; every thread has products of its own."""

    def __init__(self, random: Random, rows: Rows) -> None:
        self._random = random
        products = [row for row in rows["Product"] if row["id"] != POISON_ID]
        self._products: dict[str, Row] = {row["id"]: row for row in products}
        self._infos: dict[str, Row] = {row["product_id"]: row for row in rows["ProductInfo"]}
        long = [row["id"] for n, row in enumerate(products, 1) if n % LONG_STORIES_EVERY == 0]
        self._long = random.sample(long, len(long))
        short = [identity for identity in self._products if identity not in set(long)]
        self._short = random.sample(short, len(short))

    def threads(self) -> Iterator[list[Change]]:
        """All threads."""
        yield from ([self.price(self._short.pop())] for _ in range(9))
        yield from (self.sold(self._short.pop()) for _ in range(5))
        yield from ([self.renamed(self._short.pop())] for _ in range(3))
        yield from (self.new(*each) for each in NEW)
        yield self.removed_and_back(self._short.pop())
        yield [self.removed(self._short.pop())]
        yield from (self.hidden_and_back(self._short.pop()) for _ in range(2))
        yield self.large(self._long.pop())
        yield self.large_info_hidden(self._long.pop())
        yield [self.flash_sale(self._short.pop())]
        yield [self.rounded("m-cat"), self.recoded(self._short.pop())]
        yield [self.tagged(self._short.pop(), tags) for tags in (["new", "cold"], [])]
        yield from self.around()

    # Products ----------------------------------------------------------------------------------------

    def price(self, product: str) -> Change:
        """A new price."""
        old = int(self._products[product]["base_price"])
        new = old + self._random.choice([-4000, -2000, 3000, 5000])
        what = f"{self.name(product)}: {money(old)} → {money(new)}"
        return change("price", what, update("Product", product, base_price=str(new)))

    def sold(self, product: str) -> list[Change]:
        """Some are sold, then all, and in the end there are more."""
        old = self._products[product]["stock"]
        few, more = self._random.randrange(1, old), self._random.randrange(80, 200)
        name = self.name(product)
        return [
            change("stock", f"{name}: {old} → {few} left", update("Product", product, stock=few)),
            change("sold out", f"{name}: the last one is gone", stocked(product, 0)),
            change("restocked", f"{name}: {more} more", stocked(product, more)),
        ]

    def renamed(self, product: str) -> Change:
        """A new name in both languages."""
        old = json.loads(self._infos[product]["name"])
        name = (f"{old['vi']} kiểu mới", f"{old['en']}, new style")
        what = f"{old['vi']} → {name[0]} · {name[1]}"
        return change("renamed", what, update("ProductInfo", info_of(product), name=localized(name)))

    def new(self, identity: str, vietnamese: str, english: str, like: str, texts_first: bool) -> list[Change]:
        """A product and its texts, in either order; the rest is as with another product."""
        name = f"{vietnamese} · {english}"
        product = {**self._products[like], "id": identity, "sku": f"NEW-{identity[-1]}", "barcode": None}
        texts = {
            **self._infos[like],
            "id": info_of(identity),
            "product_id": identity,
            "name": localized((vietnamese, english)),
            "description": localized(story(self._random, 200)),
        }
        both = [
            change("new", f"{vietnamese}: the product", insert("Product", product)),
            change("texts", f"{name}: its texts", insert("ProductInfo", texts)),
        ]
        if not texts_first:
            return both
        both[1] = both[1]._replace(kind="texts 1st", what=f"{name}: its texts come before the product")
        return both[::-1]

    def removed(self, product: str) -> Change:
        """A deleted row; its texts outlive it."""
        return change("deleted", f"{self.name(product)}: the row is gone", Write("Product", product, None))

    def removed_and_back(self, product: str) -> list[Change]:
        """Deleted, and inserted again with the same id."""
        row = {**self._products[product], "stock": 12}
        what = f"{self.name(product)}: back, and its texts with it"
        return [self.removed(product), change("returned", what, insert("Product", row))]

    def hidden_and_back(self, product: str) -> list[Change]:
        """A soft delete and its return."""
        name = self.name(product)
        return [
            change("hidden", f"{name}: deleted_at is set", update("Product", product, deleted_at=DELETED_AT)),
            change("returned", f"{name}: deleted_at is null", update("Product", product, deleted_at=None)),
        ]

    def flash_sale(self, product: str) -> Change:
        """One price, changed in many transactions at once."""
        old = int(self._products[product]["base_price"])
        prices = [old - 1000 * n for n in range(1, 9)]
        steps = tuple((update("Product", product, base_price=str(price)),) for price in prices)
        what = f"{self.name(product)}: eight prices at once, down to {money(prices[-1])}"
        return Change("flash", what, steps)

    def rounded(self, merchant: str) -> Change:
        """All prices of a shop in one transaction."""
        rows = [row for row in self._products.values() if row["merchant_id"] == merchant]
        taken = [row for row in rows if row["id"] in self._short]
        self._short = [identity for identity in self._short if self._products[identity] not in taken]
        writes = [
            update("Product", row["id"], base_price=str((int(row["base_price"]) // 5000 + 1) * 5000))
            for row in taken
        ]
        return change("rounded", f"{len(writes)} prices of one shop, in one transaction", *writes)

    def recoded(self, product: str) -> Change:
        """A changed primary key; the texts follow."""
        new = f"{product}/bis"
        writes = (update("Product", product, id=new), update("ProductInfo", info_of(product), product_id=new))
        return change("new id", f"{self.name(product)}: {product} → {new}", *writes)

    def tagged(self, product: str, tags: list[str]) -> Change:
        """Other tags."""
        what = f"{self.name(product)}: tags {', '.join(tags) or 'removed'}"
        return change("tags", what, update("Product", product, tags=tags))

    # Large values --------------------------------------------------------------------------------------

    def large(self, product: str) -> list[Change]:
        """A long story that an update of the name does not carry, and then a short one."""
        old = json.loads(self._infos[product]["name"])
        name = (f"{old['vi']} của đêm trăng", f"{old['en']} of the full moon")
        short = localized(("Chuyện dài, kể sau.", "A long story, for another day."))
        info = info_of(product)
        what = f"{name[0]}: renamed, its long story is not in the event"
        return [
            change("large", what, texts(info, name=localized(name))),
            change("large", f"{name[0]}: a short story now", texts(info, description=short)),
        ]

    def large_info_hidden(self, product: str) -> list[Change]:
        """Texts that are taken away and come back although their large value is not in the event."""
        name, info = self.name(product), info_of(product)
        return [
            change("large", f"{name}: its texts are hidden", texts(info, deleted_at=DELETED_AT)),
            change("large", f"{name}: its texts are back, the long story too", texts(info, deleted_at=None)),
        ]

    # Around the products -------------------------------------------------------------------------------

    def around(self) -> Iterator[list[Change]]:
        """Everything that is no product."""
        for shop in ("snail", "leaf"):
            till = f"d-{shop}-till"
            yield [
                change("device", f"{till} goes offline", update("Device", till, is_online=False)),
                change("device", f"{till} is back", update("Device", till, is_online=True)),
            ]
        yield [
            change(
                "channel",
                "the cat delivers by bicycle first",
                update("SaleChannel", "ch-cat-counter", is_default=False),
                update("SaleChannel", "ch-cat-bicycle", is_default=True),
            ),
            change("channel", "the moon sells no bicycles", Write("SaleChannel", "ch-moon-bicycle", None)),
        ]
        name = localized(("Trà lạnh", "Cold tea"))
        renamed = update("Category", "c-iced-tea", name=name)
        yield [change("category", "Trà đá → Trà lạnh · Cold tea", renamed)]
        address = json.dumps({"line1": "9 Bến Đom Đóm", "city": "Cần Thơ"}, ensure_ascii=False)
        moved = update("Merchant", "m-leaf", address=address, latitude=10.0341, longitude=105.7882)
        yield [change("moved", "Bếp Chiếc Lá Lạc Đường → 9 Bến Đom Đóm", moved)]
        plan = update("Organizer", "o-tides", metadata=json.dumps({"plan": "open sea"}))
        yield [change("organizer", "o-tides: a new plan", plan)]

    def name(self, product: str) -> str:
        """A product's name in Vietnamese."""
        return str(json.loads(self._infos[product]["name"])["vi"])


NEW: Final = (
    ("p-new-1", "Cà phê mưa phùn", "Drizzle coffee", "p-004", True),
    ("p-new-2", "Trà bưởi ngủ gật", "Dozing pomelo tea", "p-077", True),
    ("p-new-3", "Sinh tố mây tím", "Purple cloud smoothie", "p-032", True),
    ("p-new-4", "Cà phê gáo dừa", "Coconut-shell coffee", "p-016", False),
    ("p-new-5", "Bạc xỉu hai tầng", "Two-storey white coffee", "p-011", False),
)
"""Id, names, a product like it, whether the texts come first."""


def update(table: str, identity: str, **columns: Any) -> Write:
    """Some columns of a row."""
    return Write(table, identity, columns)


def stocked(product: str, stock: int) -> Write:
    """So many, and whether it can be had."""
    return update("Product", product, stock=stock, is_available=stock > 0)


def texts(identity: str, **columns: Any) -> Write:
    """Some columns of an info row."""
    return Write("ProductInfo", identity, columns)


def insert(table: str, row: Row) -> Write:
    """A whole row."""
    return Write(table, row["id"], row, is_new=True)


def info_of(product: str) -> str:
    """The id of a product's info row."""
    return product.replace("p-", "i-", 1)


def money(dong: int) -> str:
    """As shops write it."""
    return f"{dong:,} ₫".replace(",", ".")
