"""The update that turns one document into another, and what counts as the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_sync.sink.patch import difference, same
from tests.fakes import merged
from tests.strategies import json_objects, json_values


def rfc_7396(target: Any, patch: Any) -> Any:
    """`MergePatch` as the RFC prints it."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = rfc_7396(result.get(name), value)
    return result


def exact(value: Any) -> str:
    """JSON text, which tells 1 from 1.0 and true."""
    return json.dumps(value, sort_keys=True)


def as_typesense_compares(value: Any) -> Any:
    """A value whose equality is that of JSON numbers: 1 is 1.0, and neither is true."""
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, dict):
        return {name: as_typesense_compares(member) for name, member in value.items()}
    if isinstance(value, list):
        return [as_typesense_compares(member) for member in value]
    return value


@given(json_objects(), json_objects())
def test_merging_the_difference_gives_what_was_wanted(stored: Any, wanted: Any) -> None:
    """By the RFC, and by Typesense, which also strips nulls from what is new."""
    patch = difference(stored, wanted)
    for merge in (rfc_7396, merged):
        assert as_typesense_compares(wanted) == as_typesense_compares(merge(stored, patch))


@given(json_objects())
def test_what_is_the_same_needs_nothing(document: Any) -> None:
    """An empty patch is how a writer sees that it is done."""
    assert {} == difference(document, json.loads(exact(document)))
    assert same(document, json.loads(exact(document)))


@given(json_objects(), json_objects())
def test_a_patch_is_empty_only_for_the_same(one: Any, other: Any) -> None:
    """The two questions have one answer, which is that of JSON."""
    expected = as_typesense_compares(one) == as_typesense_compares(other)
    assert [expected, expected] == [same(one, other), difference(one, other) == {}]


@given(json_objects(), json_objects())
def test_a_patch_touches_nothing_else(stored: Any, wanted: Any) -> None:
    """Only top-level fields that differ are in it; and the inputs stay as they are."""
    before = exact([stored, wanted])
    patch = difference(stored, wanted)
    alike = {name for name in stored if name in wanted and same(stored[name], wanted[name])}
    assert not alike & patch.keys()
    assert before == exact([stored, wanted])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True), (0, False), (True, 1.0), (None, False), (None, 0), ([1], [True]), ({"a": 0}, {"a": False}),
        ([], {}), ("", []), ("1", 1), ([1, 2], [2, 1]), ([1], [1, 1]), ({"a": 1}, {}), ({}, {"a": 1}),
    ],
)  # fmt: skip
def test_what_is_not_the_same(one: Any, other: Any) -> None:
    """Strict about booleans and lengths, in both directions."""
    assert [False, False] == [same(one, other), same(other, one)]


@pytest.mark.parametrize(("one", "other"), [(1, 1.0), (True, True), (-0.0, 0), ([1.0], [1]), (None, None)])
def test_what_is_the_same(one: Any, other: Any) -> None:
    """Typesense renders numbers anew."""
    assert same(one, other)


@given(st.integers(2**53, 2**63 - 2))
def test_large_integers_are_compared_to_the_last_digit(number: int) -> None:
    """They are not passed through doubles."""
    assert not same(number, number + 1)


@given(json_objects(), json_values(nulls=False))
def test_a_free_object_is_replaced_whole(other: Any, value: Any) -> None:
    """No member of the old value survives, whatever the new one is."""
    stored = {"id": "p", "attributes": {"old": {"deep": 1}, **other}}
    wanted = {"id": "p", "attributes": value}
    assert exact(wanted) == exact(rfc_7396(stored, {"id": "p", **difference(stored, wanted)})) or same(
        wanted, stored
    )
