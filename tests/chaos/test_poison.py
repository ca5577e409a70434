"""Injected poison is poison, whatever the table: nothing can be made of it."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_sync.corridor import Corridor
from cdc_sync.errors import RecordError
from cdc_sync.mappers import MAPPERS
from cdc_sync.routing import Router
from tests.factories import json_decoder, record
from tests.strategies import tables

from .poison import make_poison

CORRIDOR = Corridor(json_decoder(), Router(MAPPERS, ()))


@given(tables(), st.integers(0, 2**32))
def test_no_change_can_be_made_of_it(table: str, seed: int) -> None:
    """So it must become a dead letter."""
    key, value = make_poison(Random(seed))
    with pytest.raises(RecordError):
        CORRIDOR.change_of(record(table, key, value))
