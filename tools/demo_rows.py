"""The rows of the demo's catalogue before anything changes, the same for the same seed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final

from tools.demo_words import CATEGORIES, KINDS, MERCHANTS, ORGANIZERS, SENTENCES, SLOTS, Kind, Pair

__all__ = ["LONG_STORY_CHARS", "OPENED", "POISON_ID", "Row", "Rows", "catalogue", "localized", "story"]

Row = dict[str, Any]
Rows = dict[str, list[Row]]

OPENED: Final = datetime(2026, 3, 2, 1, 0, tzinfo=UTC)
"""When the first row was written."""

LONG_STORY_CHARS: Final = 9_000
"""Of each language: stored out of line by PostgreSQL (TOAST), also when compressed."""

LONG_STORIES_EVERY: Final = 9
POISON_ID: Final = "p-mystery"


def catalogue(random: Random) -> Rows:
    """Rows by table, in the order of their insertion."""
    rows: Rows = {
        "Organizer": [organizer(*each) for each in ORGANIZERS],
        "Merchant": [merchant(*each) for each in MERCHANTS],
        "Category": [category(n, *each) for n, each in enumerate(CATEGORIES)],
        "SaleChannel": [c for each in MERCHANTS for c in channels(each[0])],
        "Device": [d for each in MERCHANTS for d in devices(random, each[0])],
        "Product": [],
        "ProductInfo": [],
    }
    for kind in KINDS:
        for base in kind.bases:
            for twist in kind.twists:
                number = len(rows["Product"]) + 1
                rows["Product"].append(product(random, kind, number, twist))
                rows["ProductInfo"].append(info(random, kind, number, base, twist))
    rows["Product"].append(poison())
    return rows


def localized(pair: Pair) -> str:
    """A pair as localized text."""
    return json.dumps({"en": pair[1], "vi": pair[0]}, ensure_ascii=False)


def stamps(minutes: int) -> Row:
    """Written so long after the opening, unchanged since."""
    at = OPENED + timedelta(minutes=minutes)
    return {"created_at": at, "modified_at": at}


def organizer(identity: str, name: Pair, metadata: Row) -> Row:
    """An organizer."""
    return {
        "id": identity,
        "name": localized(name),
        "slug": identity.removeprefix("o-"),
        "status": "active",
        "metadata": json.dumps(metadata),
        **stamps(0),
    }


def merchant(
    identity: str, organizer_id: str, name: Pair, slug: str, address: Row, place: tuple[float, float] | None
) -> Row:
    """A merchant; its address and its place on the map."""
    latitude, longitude = place or (None, None)
    return {
        "id": identity,
        "organizer_id": organizer_id,
        "name": localized(name),
        "slug": slug,
        "phone": None,
        "email": f"xin-chao@{slug}.example",
        "address": json.dumps(address, ensure_ascii=False),
        "latitude": latitude,
        "longitude": longitude,
        "currency": "VND",
        "status": "active",
        **stamps(5),
    }


def category(number: int, identity: str, merchant_id: str, parent_id: str | None, name: Pair) -> Row:
    """A node of a merchant's tree."""
    return {
        "id": identity,
        "merchant_id": merchant_id,
        "parent_id": parent_id,
        "name": localized(name),
        "position": number,
        "status": "active",
        **stamps(10 + number),
    }


def channels(merchant_id: str) -> list[Row]:
    """The counter and the bicycle."""
    shop = merchant_id.removeprefix("m-")
    kinds = (("counter", ("Tại quầy", "At the counter")), ("bicycle", ("Giao bằng xe đạp", "By bicycle")))
    return [
        {
            "id": f"ch-{shop}-{kind}",
            "merchant_id": merchant_id,
            "name": localized(name),
            "kind": kind,
            "is_default": kind == "counter",
            "status": "active",
            **stamps(30),
        }
        for kind, name in kinds
    ]


def devices(random: Random, merchant_id: str) -> list[Row]:
    """A till and a printer."""
    shop = merchant_id.removeprefix("m-")
    return [
        {
            "id": f"d-{shop}-{kind}",
            "merchant_id": merchant_id,
            "sale_channel_id": f"ch-{shop}-counter",
            "name": name,
            "serial_number": f"{shop[:2].upper()}{random.randrange(10**6):06}",
            "kind": kind,
            "is_online": True,
            "last_seen_at": OPENED + timedelta(minutes=random.randrange(60, 600)),
            "status": "active",
            **stamps(40),
        }
        for kind, name in (("till", "Máy tính tiền"), ("printer", "Máy in hóa đơn"))
    ]


def product(random: Random, kind: Kind, number: int, twist: Pair) -> Row:
    """A product without its texts."""
    low, high = kind.prices
    return {
        "id": f"p-{number:03}",
        "merchant_id": kind.merchant,
        "category_id": kind.category,
        "sku": f"{kind.prefix.upper()}-{number:03}",
        "barcode": f"893{random.randrange(10**10):010}" if random.random() < 0.6 else None,
        "kind": "simple",
        "base_price": f"{random.randrange(low, high)}000",
        "tags": [*kind.tags, *(["house"] if twist == ("", "") else [])],
        "stock": random.randrange(3, 240),
        "is_available": True,
        "available_from": "2026-03-02" if random.random() < 0.3 else None,
        "status": "active",
        **stamps(60 + number),
    }


def info(random: Random, kind: Kind, number: int, base: Pair, twist: Pair) -> Row:
    """The texts of a product; every few products have a long story to tell."""
    length = LONG_STORY_CHARS if number % LONG_STORIES_EVERY == 0 else random.randrange(80, 260)
    attributes: Row = {"unit": {"vi": kind.unit[0], "en": kind.unit[1]}, "note": None}
    if kind.prefix in ("cu", "va"):
        attributes |= {"kiln": random.randrange(1, 4), "weight_g": random.randrange(180, 1900)}
    else:
        attributes |= {"sugar": random.choice(["none", "less", "normal"]), "spicy": random.randrange(4)}
    return {
        "id": f"i-{number:03}",
        "product_id": f"p-{number:03}",
        "name": localized((f"{base[0]} {twist[0]}".strip(), f"{base[1]} {twist[1]}".strip())),
        "description": localized(story(random, length)),
        "images": [
            f"https://images.example/p-{number:03}/{n}.webp" for n in range(1, random.randrange(2, 5))
        ],
        "attributes": json.dumps(attributes, ensure_ascii=False),
        **stamps(60 + number),
    }


def poison() -> Row:
    """A product whose price is not a number: PostgreSQL takes it, no document can hold it."""
    return {
        "id": POISON_ID,
        "merchant_id": "m-moon",
        "category_id": "c-vases",
        "sku": "VA-???",
        "barcode": None,
        "kind": "simple",
        "base_price": "NaN",
        "tags": ["pottery"],
        "stock": 1,
        "is_available": True,
        "available_from": None,
        "status": "active",
        **stamps(600),
    }


def story(random: Random, length: int) -> Pair:
    """A text of so many characters, about, in both languages."""
    vietnamese, english = "", ""
    while len(english) < length:
        sentence = random.choice(SENTENCES)
        words = {slot: random.choice(choices) for slot, choices in SLOTS.items()}
        vietnamese += " " + filled(sentence[0], {slot: word[0] for slot, word in words.items()})
        english += " " + filled(sentence[1], {slot: word[1] for slot, word in words.items()})
    return vietnamese.strip(), english.strip()


def filled(template: str, words: dict[str, str]) -> str:
    """A sentence with its words."""
    text = template.format(**words)
    return text[0].upper() + text[1:]
