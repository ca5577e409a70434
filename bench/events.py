"""What the benchmarks write to the topics: recorded Debezium envelopes, each with its own key and values.

Seeds are fixed, so every run has the same events.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["Event", "hot", "mixed", "probe", "products", "rough", "skewed"]

PRODUCT: Final = "Product"
INFO: Final = "ProductInfo"

HERE: Final = Path(__file__).parent
UPDATE: Final = (HERE / "product-event.json").read_bytes().strip()
DELETE: Final = (HERE / "product-delete.json").read_bytes().strip()
INFO_UPDATE: Final = (HERE / "product-info-event.json").read_bytes().strip()


class Event(NamedTuple):
    """A change to produce; `partition` is the key's own where it is -1."""

    table: str
    key: bytes
    value: bytes
    partition: int = -1


def product(number: int, stock: int, price: int) -> bytes:
    """The envelope of a product."""
    return (
        UPDATE.replace(b'"id":"p-1"', b'"id":"p-%d"' % number)
        .replace(b'"sku":"CF-001"', b'"sku":"CF-%06d"' % number)
        .replace(b'"stock":119', b'"stock":%d' % stock)
        .replace(b'"base_price":"13.7500"', b'"base_price":"%d.%04d"' % (price % 900, price % 10_000))
    )


def key(number: int) -> bytes:
    """The key of a product."""
    return b'{"id":"p-%d"}' % number


def products(count: int, seed: int = 1) -> Iterator[Event]:
    """So many products, each once."""
    random_ = random.Random(seed)
    for n in range(count):
        yield Event(PRODUCT, key(n), product(n, random_.randrange(100_000), n))


def infos(count: int, seed: int = 2) -> Iterator[Event]:
    """An info for each of so many products, in another order than theirs."""
    numbers = list(range(count))
    random.Random(seed).shuffle(numbers)
    for n in numbers:
        value = INFO_UPDATE.replace(b'"id":"pi-1"', b'"id":"pi-%d"' % n)
        value = value.replace(b'"product_id":"p-1"', b'"product_id":"p-%d"' % n)
        yield Event(INFO, b'{"id":"pi-%d"}' % n, value)


def mixed(count: int) -> Iterator[Event]:
    """Products and their infos, one of each in turn: `count` events in all."""
    for pair in zip(products(count // 2), infos(count // 2), strict=True):
        yield from pair


def hot(count: int, seed: int = 3) -> Iterator[Event]:
    """90 % of the events on 1 % of the keys."""
    random_ = random.Random(seed)
    keys = max(100, count // 10)
    for n in range(count):
        number = random_.randrange(keys // 100) if random_.random() < 0.9 else random_.randrange(keys)
        yield Event(PRODUCT, key(number), product(number, random_.randrange(100_000), n))


def rough(count: int, seed: int = 4) -> Iterator[Event]:
    """10 % deletes and 1 % poison among updates of a tenth as many keys."""
    random_ = random.Random(seed)
    for n in range(count):
        number, kind = random_.randrange(max(1, count // 10)), random_.random()
        if kind < 0.1:
            value = DELETE.replace(b'"id":"p-5"', b'"id":"p-%d"' % number)
        elif kind < 0.11:
            value = product(number, n, n).replace(b'"status":"active"', b'"status":7')
        else:
            value = product(number, random_.randrange(100_000), n)
        yield Event(PRODUCT, key(number), value)


def skewed(count: int, seed: int = 5) -> Iterator[Event]:
    """80 % of the events in one partition of three."""
    random_ = random.Random(seed)
    for event in products(count, seed):
        yield event._replace(partition=0 if random_.random() < 0.8 else random_.choice([1, 2]))


def probe(number: int) -> Event:
    """A product that is new now, to be looked for."""
    now_ms = time.time_ns() // 1_000_000
    value = product(number, number, number).replace(b'"ts_ms":1795403218127', b'"ts_ms":%d' % now_ms)
    return Event(PRODUCT, key(number), value)
