"""An Avro schema as one function that reads only the fields that are asked for, and steps over the rest.

fastavro makes an object of every field that a message has; of a Debezium envelope few are used. Measured on
recorded Product events (`bench/avro.py`): 27 µs an event by fastavro, 39 µs with a reader schema of only
the columns, 8 µs by the function that is written out here.

It knows what Connect makes of ordinary columns: numbers, text, bytes, arrays, records, each perhaps null.
For anything else `unrolled` says so, and fastavro reads the message (`decoder/avro.py`).
`tests/test_unrolled.py` holds both to the same values.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from cdc_sync.framing import HEAD_BYTES
from cdc_sync.model import ABSENT

__all__ = ["NotUnrolled", "ReadFields", "Take", "nullable", "resolved", "unrolled"]

Schema = Any
"""A schema as fastavro's `parse_schema` leaves it: a primitive's or a full name, a list, or an object."""

Named = Mapping[str, Any]
"""Record schemas by their full names."""

ReadFields = Callable[[bytes], tuple[Any, ...]]
"""The values of the taken fields, in their order. Raises `ValueError`, `IndexError` or `struct.error`."""

MAX_NESTED: Final = 8
"""Records in records; Debezium's envelope needs two, and a schema that holds itself has no end."""

SHIFTS: Final = tuple(range(0, 70, 7))
VARINT: Final = rb"[\x80-\xff]{0,9}[\x00-\x7f]"
NUMBERS: Final = {
    "null": b"",
    "boolean": rb"[\x00\x01]",
    "int": VARINT,
    "long": VARINT,
    "float": b".{4}",
    "double": b".{8}",
}
SHORT: Final = b"(?:%s)" % b"|".join(re.escape(bytes([2 * n])) + b".{%d}" % n for n in range(64))
PATTERNS: Final = {**NUMBERS, "string": SHORT, "bytes": SHORT}
"""How the bytes of a value look that is stepped over; of texts, those of less than 64 bytes."""


class Take(NamedTuple):
    """A field to read. `convert` is applied to its value unless that is null.

    With `inside` the field is a record (or null), and its value the tuple of these fields of it.
    """

    name: str
    convert: Callable[[Any], Any] | None = None
    inside: tuple[Take, ...] = ()


class NotUnrolled(Exception):
    """The schema has a type that is left to fastavro."""


# What the written-out code calls ------------------------------------------------------------------------


def long(raw: bytes, i: int) -> tuple[int, int]:
    """The number at this place, and the next place."""
    number = 0
    for shift in SHIFTS:
        byte = raw[i]
        i += 1
        if byte < 128:
            number |= byte << shift
            return (number >> 1) ^ -(number & 1), i
        number |= byte - 128 << shift
    raise ValueError("a number has more than ten bytes")


def size(raw: bytes, i: int) -> tuple[int, int]:
    """The length at this place, and where what is so long begins."""
    number, i = long(raw, i)
    if number < 0:
        raise ValueError("a length is negative")
    return number, i


def block(raw: bytes, i: int) -> tuple[int, int]:
    """How many members of an array follow, and the next place."""
    if not (byte := raw[i]) & 129:
        return byte >> 1, i + 1
    count, i = long(raw, i)
    if count < 0:  # then the block's length in bytes follows
        count = -count
        _, i = long(raw, i)
    if count > len(raw):  # every member has a byte: do not loop over what cannot be there
        raise ValueError("an array is longer than the message")
    return count, i


def refuse(what: str) -> None:
    """Raise for bytes that the schema does not allow."""
    raise ValueError(what)


# Schemas ------------------------------------------------------------------------------------------------


def resolved(schema: Schema, named: Named) -> Schema:
    """The schema behind a name; any other as it is."""
    return named.get(schema, schema) if isinstance(schema, str) else schema


def kind_of(schema: Schema) -> str:
    """`string`, `record`, …; `union` for a list of schemas."""
    if isinstance(schema, list):
        return "union"
    return str(schema if isinstance(schema, str) else schema["type"])


def nullable(schema: Schema) -> tuple[Schema, int | None]:
    """What a value is unless it is null, and the place of null in the union (None where it is none)."""
    if isinstance(schema, list) and len(schema) == 2 and "null" in schema:
        null = schema.index("null")
        return schema[1 - null], null
    return schema, None


def unrolled(schema: Schema, named: Named, takes: Sequence[Take]) -> ReadFields:
    """The function that reads these fields of a framed message. Raises `NotUnrolled`.

    The text that is executed has only our own words and numbers in it, no name of a schema.
    """
    code = Code(named)
    result = code.record(resolved(schema, named), takes, 1)
    lines = [
        "def read(raw):",
        f"    i = {HEAD_BYTES}",
        *code.lines,
        "    if i != len(raw): refuse('%d bytes are left over' % (len(raw) - i))",
        f"    return {result}",
    ]
    exec("\n".join(lines), code.known)  # noqa: S102
    read: ReadFields = code.known["read"]
    return read


class Code:
    """The lines of one function; `raw` is the message in them and `i` the place in it."""

    def __init__(self, named: Named) -> None:
        self.lines: list[str] = []
        self.known: dict[str, Any] = {
            "ABSENT": ABSENT,
            "block": block,
            "long": long,
            "refuse": refuse,
            "size": size,
            "of_double": struct.Struct("<d").unpack_from,
            "of_float": struct.Struct("<f").unpack_from,
        }
        self._named = named
        self._names = 0
        self._nested = 0

    def record(self, schema: Schema, takes: Sequence[Take], depth: int) -> str:
        """Read these fields of a record and step over the others; the expression of their tuple."""
        if kind_of(schema) != "record" or self._nested == MAX_NESTED:
            raise NotUnrolled(kind_of(schema))
        self._nested += 1
        wanted = {take.name: take for take in takes}
        places: dict[str, str] = {}
        stepped_over: list[Schema] = []
        for field in schema["fields"]:
            take = wanted.get(field["name"])
            if take is None:
                stepped_over.append(field["type"])
                continue
            self._step_over(stepped_over, depth)
            stepped_over = []
            places[take.name] = self._name()
            self._take(field["type"], take, places[take.name], depth)
        self._step_over(stepped_over, depth)
        self._nested -= 1
        return "(" + "".join(f"{places.get(take.name, 'ABSENT')}, " for take in takes) + ")"

    # Reading -----------------------------------------------------------------------------------------

    def _take(self, schema: Schema, take: Take, name: str, depth: int) -> None:
        """Read one field into the variable `name`."""

        def read_value(value: Schema, inner: int) -> None:
            if take.inside:
                self._line(inner, f"{name} = {self.record(value, take.inside, inner)}")
            else:
                self._read(value, name, inner)
            if take.convert is not None:
                self._line(inner, f"{name} = {self._know(take.convert)}({name})")

        self._unless_null(schema, depth, read_value, f"{name} = None")

    def _unless_null(
        self, schema: Schema, depth: int, do: Callable[[Schema, int], None], if_null: str
    ) -> None:
        """The lines for a value that is there; for a union with null, those for null too."""
        value, null = nullable(resolved(schema, self._named))
        value = resolved(value, self._named)
        if null is None:
            do(value, depth)
            return
        self._line(depth, "u = raw[i]; i += 1")
        self._line(depth, f"if u == {2 * (1 - null)}:")
        before = len(self.lines)
        do(value, depth + 1)
        if len(self.lines) == before:  # a record without fields has no bytes
            self._line(depth + 1, "pass")
        self._line(depth, f"elif u == {2 * null}: {if_null}")
        self._line(depth, "else: refuse('a union has no such branch')")

    def _read(self, schema: Schema, name: str, depth: int) -> None:
        """Read a value that is not null into the variable `name`."""
        match kind_of(schema):
            case "string" | "bytes" as kind:
                self._line(depth, "n = raw[i]")
                self._line(depth, "if n & 129: n, i = size(raw, i); j = i + n")  # long, or negative
                self._line(depth, "else: i += 1; j = i + (n >> 1)")
                self._line(depth, f"{name} = raw[i:j]{'.decode()' if kind == 'string' else ''}; i = j")
            case "int" | "long":
                self._line(depth, "n = raw[i]")
                self._line(depth, f"if n < 128: {name} = (n >> 1) ^ -(n & 1); i += 1")
                self._line(depth, f"else: {name}, i = long(raw, i)")
            case "boolean":
                self._line(depth, f"{name} = raw[i] != 0; i += 1")
            case "double":
                self._line(depth, f"{name}, = of_double(raw, i); i += 8")
            case "float":
                self._line(depth, f"{name}, = of_float(raw, i); i += 4")
            case "array":
                self._read_array(schema["items"], name, depth)
            case "record":
                self._read_record(schema, name, depth)
            case other:
                raise NotUnrolled(other)

    def _read_array(self, items: Schema, name: str, depth: int) -> None:
        count, member = self._name(), self._name()
        self._line(depth, f"{name} = []")
        self._line(depth, "while raw[i]:")
        self._line(depth + 1, f"{count}, i = block(raw, i)")
        self._line(depth + 1, f"for _ in range({count}):")
        self._unless_null(items, depth + 2, self._reads_scalar(member), f"{member} = None")
        self._line(depth + 2, f"{name}.append({member})")
        self._line(depth, "i += 1")

    def _reads_scalar(self, name: str) -> Callable[[Schema, int], None]:
        """Reads what is no array: a loop in a loop, and members without a byte, are left to fastavro."""

        def read(schema: Schema, depth: int) -> None:
            if kind_of(schema) in ("array", "record"):
                raise NotUnrolled("an array of these")
            self._read(schema, name, depth)

        return read

    def _read_record(self, schema: Schema, name: str, depth: int) -> None:
        """A record as a dict, as fastavro has it."""
        fields = tuple(Take(field["name"]) for field in schema["fields"])
        values = self.record(schema, fields, depth)
        names = self._know(tuple(take.name for take in fields))
        self._line(depth, f"{name} = dict(zip({names}, {values}))")

    # Stepping over -----------------------------------------------------------------------------------

    def _step_over(self, schemas: Sequence[Schema], depth: int) -> None:
        """Step over fields that follow one another: by one expression as far as one can say how they look."""
        run: list[Schema] = []
        for schema in schemas:
            if self._pattern(schema) is not None:
                run.append(schema)
                continue
            self._step_over_run(run, depth)
            run = []
            self._unless_null(schema, depth, self._step_over_one, "pass")
        self._step_over_run(run, depth)

    def _step_over_run(self, run: Sequence[Schema], depth: int) -> None:
        """A walk costs 100 ns a field, an expression 30 to 50; but it knows short texts only."""
        patterns = [self._pattern(schema) or b"" for schema in run]
        if not patterns:
            return
        self._line(depth, f"m = {self._know(re.compile(b''.join(patterns), re.DOTALL).match)}(raw, i)")
        if all(kind_of(nullable(resolved(schema, self._named))[0]) in NUMBERS for schema in run):
            self._line(depth, "if m is None: refuse('a number is cut short')")
            self._line(depth, "i = m.end()")
            return
        self._line(depth, "if m is not None: i = m.end()")
        self._line(depth, "else:")
        for schema in run:
            self._unless_null(schema, depth + 1, self._step_over_one, "pass")

    def _pattern(self, schema: Schema) -> bytes | None:
        """How the bytes of a value look; None where no expression says it."""
        value, null = nullable(resolved(schema, self._named))
        pattern = PATTERNS.get(kind_of(value))
        if pattern is None or null is None:
            return pattern
        return b"(?:%s|%s)" % tuple(bytes([2 * n]) + (b"" if n == null else pattern) for n in (0, 1))

    def _step_over_one(self, schema: Schema, depth: int) -> None:
        kind = kind_of(schema)
        if kind in NUMBERS:
            self._step_over_run([kind], depth)
        elif kind in ("string", "bytes"):
            self._line(depth, "n = raw[i]")
            self._line(depth, "if n & 129: n, i = size(raw, i); i += n")
            self._line(depth, "else: i += (n >> 1) + 1")
        elif kind == "array":
            self._read_array(schema["items"], self._name(), depth)
        elif kind == "record":
            self.record(schema, (), depth)
        else:
            raise NotUnrolled(kind)

    # Lines -------------------------------------------------------------------------------------------

    def _line(self, depth: int, text: str) -> None:
        self.lines.append("    " * depth + text)

    def _name(self) -> str:
        """A new variable."""
        self._names += 1
        return f"v{self._names}"

    def _know(self, thing: Any) -> str:
        """A name by which the code reaches a thing of ours."""
        name = f"k{len(self.known)}"
        self.known[name] = thing
        return name
