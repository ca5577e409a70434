"""Filters: clauses read against a schema, then answered from hash indexes.

A list of ids or of numbers costs one look-up a member; a range costs one comparison a distinct
value. ``Rows`` may be a complement, so ``!=`` costs no walk over the collection until the end.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from .coerce import is_float_text, is_integer_text, to_float32
from .collection import Collection
from .errors import Refusal
from .filter_grammar import OPERATORS, split_clause, split_values, to_postfix
from .schema import Field

_INVALID_COMPARATOR = "Numerical field has an invalid comparator."
_COMPARATORS: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.ge,  # each is called with the bound first
    ">=": operator.le,
    "!=": operator.ne,
    "<": operator.gt,
    ">": operator.lt,
}


@dataclass(frozen=True, slots=True)
class Rows:
    """A set of sequence numbers, or everything but that set."""

    seqs: frozenset[int] | set[int]
    complement: bool = False

    def __and__(self, other: "Rows") -> "Rows":
        match self.complement, other.complement:
            case False, False:
                return Rows(self.seqs & other.seqs)
            case False, True:
                return Rows(self.seqs - other.seqs)
            case True, False:
                return Rows(other.seqs - self.seqs)
        return Rows(self.seqs | other.seqs, True)

    def __or__(self, other: "Rows") -> "Rows":
        both = self.inverted() & other.inverted()
        return both.inverted()

    def inverted(self) -> "Rows":
        return Rows(self.seqs, not self.complement)

    def within(self, documents: dict[int, bytes]) -> list[int]:
        """The rows that exist, in insertion order."""
        if self.complement:
            return [seq for seq in documents if seq not in self.seqs]
        return sorted(seq for seq in self.seqs if seq in documents)


NOTHING = Rows(frozenset())
EVERYTHING = Rows(frozenset(), True)


class Clause(Protocol):
    """One ``field: value`` of a filter."""

    def rows(self, collection: Collection) -> Rows: ...


@dataclass(frozen=True, slots=True)
class IdClause:
    """``id`` against a value or a list; a member ``*`` means every document (section 3)."""

    ids: list[str]
    negated: bool

    def rows(self, collection: Collection) -> Rows:
        if "*" in self.ids:
            found = EVERYTHING
        else:
            known = collection.ids
            found = Rows({known[value] for value in self.ids if value in known})
        return found.inverted() if self.negated else found


@dataclass(frozen=True, slots=True)
class NumberClause:
    """Numbers and bools: any of these values, any of these tests."""

    field: Field
    values: list[Any]
    tests: list[Callable[[Any], bool]]
    negated: bool = False

    def rows(self, collection: Collection) -> Rows:
        column = collection.column(self.field)
        found = column.having(self.values)
        for test in self.tests:
            found |= column.where(test)
        return Rows(found, self.negated)


@dataclass(frozen=True, slots=True)
class TextClause:
    """Strings: ``:`` wants all tokens, ``:=`` the same tokens in the same order.

    ``broken`` marks a prefix (``abc*``) outside of search, where the real server finds nothing.
    """

    field: Field
    texts: list[str]
    exact: bool
    negated: bool
    broken: bool = False

    def rows(self, collection: Collection) -> Rows:
        found: set[int] = set()
        for text in self.texts:
            is_prefix = text.endswith("*") and len(self.texts) == 1
            tokens = collection.tokenizer.tokens(text)
            if not tokens or (is_prefix and self.broken):
                continue
            if self.exact:
                found |= self._equal(collection, " ".join(tokens), is_prefix)
            else:
                found |= self._containing(collection, tokens, is_prefix)
        return Rows(found, self.negated)

    def _equal(self, collection: Collection, key: str, is_prefix: bool) -> set[int]:
        column = collection.column(self.field)
        if is_prefix:
            return column.where(lambda value: value.startswith(key))
        return column.having([key])

    def _containing(self, collection: Collection, tokens: list[str], is_prefix: bool) -> set[int]:
        index = collection.text_index(self.field)
        found: set[int] | None = None
        for position, token in enumerate(tokens):
            holders = set(index.postings.get(token, ()))
            if is_prefix and position == len(tokens) - 1:
                for word in index.with_prefix(token):
                    holders |= index.postings[word]
            found = holders if found is None else found & holders
        return found or set()


@dataclass(frozen=True, slots=True)
class NoClause:
    """A clause on an unknown field when ``validate_field_names=false``."""

    def rows(self, collection: Collection) -> Rows:
        return NOTHING


def filter_rows(
    collection: Collection, text: str, *, in_search: bool = False, strict_names: bool = True
) -> Rows:
    """The rows that match a non-blank filter; raises the refusals of ``filter_by``."""
    stack: list[Clause | Rows] = []
    for item in to_postfix(text):
        if item in OPERATORS:
            if len(stack) < 2:
                text = f"Could not parse the filter query: unbalanced `{item}` operands."
                raise Refusal(400, text)
            right, left = _resolved(stack.pop(), collection), _resolved(stack.pop(), collection)
            stack.append(left & right if item == "&&" else left | right)
        else:
            stack.append(_read_clause(collection, item, in_search, strict_names))
    return _resolved(stack[-1], collection)


def _resolved(item: Clause | Rows, collection: Collection) -> Rows:
    return item if isinstance(item, Rows) else item.rows(collection)


def _read_clause(collection: Collection, text: str, in_search: bool, strict: bool) -> Clause:
    name, value = split_clause(text)
    if name == "id":
        return _id_clause(value)
    field = collection.schema.by_name.get(name)
    if field is None or field.is_dynamic:
        if not strict:
            return NoClause()
        raise Refusal(400, f"Could not find a filter field named `{name}` in the schema.")
    if not field.index:
        raise Refusal(400, f"Cannot filter on non-indexed field `{name}`.")
    if field.item_type == "string":
        return _text_clause(field, value, in_search)
    if value.startswith("="):
        value = value[1:].lstrip(" ")
    if field.item_type in ("int32", "int64", "float"):
        return _number_clause(field, value)
    if field.item_type == "bool":
        return _bool_clause(field, value)
    text = "Unidentified field data type, see docs for supported data types."
    raise _field_error(field.name, text)


def _field_error(name: str, text: str) -> Refusal:
    return Refusal(400, f"Error with filter field `{name}`: {text}")


def _stripped(name: str, value: str) -> tuple[str, bool]:
    """The value without ``=`` or ``!=``, and whether it was negated; empty values are refused."""
    negated = value.startswith("!=")
    if negated:
        value = value[2:].lstrip(" ")
    elif value.startswith("="):
        value = value[1:].lstrip(" ")
    if not value:
        raise _field_error(name, "Filter value cannot be empty.")
    return value, negated


def _is_list(value: str) -> bool:
    return value.startswith("[") and value.endswith("]")


def _id_clause(value: str) -> IdClause:
    value, negated = _stripped("id", value)
    if _is_list(value):
        return IdClause(split_values(value[1:-1]), negated)
    return IdClause(split_values(value)[:1], negated)


def _text_clause(field: Field, value: str, in_search: bool) -> TextClause:
    exact = value.startswith(("=", "!="))
    value, negated = _stripped(field.name, value)
    if value.startswith("!") and not exact:
        value, negated = value[1:].lstrip(" "), True
    if _is_list(value):
        return TextClause(field, split_values(value[1:-1]), exact, negated)
    return TextClause(field, [value], exact, negated, broken=not in_search)


def _bool_clause(field: Field, value: str) -> NumberClause:
    value, negated = _stripped(field.name, value)
    if _is_list(value):
        members = [part.strip() for part in value[1:-1].split(",") if part.strip()]
        text = f"Values of filter field `{field.name}`: must be `true` or `false`."
    else:
        members = [value]
        text = f"Value of filter field `{field.name}` must be `true` or `false`."
    if any(member not in ("true", "false") for member in members):
        raise Refusal(400, text)
    return NumberClause(field, [member == "true" for member in members], [], negated)


def _number_clause(field: Field, value: str) -> NumberClause:
    clause = NumberClause(field, [], [])
    if _is_list(value):
        for part in value[1:-1].split(","):
            if part.strip():
                _add_number(clause, part.strip())
        return clause
    if value.startswith("!="):
        value = value[2:].strip()
        members = value[1:-1].split(",") if _is_list(value) else [value]
        numbers = [_number(field, member.strip()) for member in members]
        return NumberClause(field, numbers, [], negated=True)
    _add_number(clause, value)
    return clause


def _add_number(clause: NumberClause, text: str) -> None:
    field = clause.field
    if is_integer_text(text, 128) or is_float_text(text):
        clause.values.append(_number(field, text))
        return
    for sign, holds in _COMPARATORS.items():
        if text.startswith(sign):
            bound = _number(field, text[len(sign) :].strip())
            clause.tests.append(partial(holds, bound))
            return
    if ".." not in text:
        raise _field_error(field.name, _INVALID_COMPARATOR)
    bounds = [_number(field, part.strip()) for part in text.split("..") if part.strip()]
    if len(bounds) == 2:
        low, high = bounds
        clause.tests.append(lambda value: bool(low <= value <= high))


def _number(field: Field, text: str) -> int | float:
    kind = field.item_type
    if kind == "float":
        if not is_float_text(text):
            raise _field_error(field.name, "Not a float.")
        return to_float32(float(text))
    if not is_integer_text(text, 32 if kind == "int32" else 64):
        raise _field_error(field.name, f"Not an {kind}.")
    return int(text)
