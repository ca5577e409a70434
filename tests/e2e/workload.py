"""Seeded random changes of the seven tables, as a busy and careless application would make them.

The same seed makes the same statements. `may_be_dead_lettered` collects the rows for which a dead
letter would be right: poison, and, under REPLICA IDENTITY DEFAULT, the two cases without an answer
in the stream (a changed key, or the return of a soft-deleted row, while a large value stays
unchanged).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Any, Final

import psycopg
from psycopg import sql

from .values import AWKWARD_IDS, GENERATORS, LARGE, NULLABLE, POISON

__all__ = ["TABLES", "Workload"]

TABLES: Final = tuple(GENERATORS)
_WEIGHTS: Final = (1, 2, 1, 1, 1, 5, 5)  # most changes are of products and their infos
_LARGE_BYTES: Final = 1900
_EXPECTED: Final = (
    psycopg.errors.UniqueViolation,
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DeadlockDetected,
)

Connection = psycopg.Connection[Any]


@dataclass
class _RowState:
    is_deleted: bool
    is_large: bool


class Workload:
    """Changes one database. Two connections, one thread."""

    def __init__(
        self,
        conninfo: str,
        seed: int,
        *,
        is_full: bool = False,
        poison: int = 0,
        pace_s: float = 0.0,
        max_rows: int | None = None,
    ) -> None:
        """`poison` is how many poison rows may be made at most; a table with `max_rows` grows no more."""
        self.random = Random(seed)
        self.may_be_dead_lettered: set[tuple[str, str]] = set()
        self._is_full = is_full
        self._poison_left = poison
        self._pace_s = pace_s
        self._max_rows = max_rows
        self._serial = 0
        self._first = psycopg.connect(conninfo, autocommit=True)
        self._second = psycopg.connect(conninfo, autocommit=True)
        self._rows: dict[str, dict[str, _RowState]] = {}
        for connection in (self._first, self._second):
            connection.execute("SET lock_timeout = '300ms'")
        self._reload()

    def close(self) -> None:
        """Close both connections."""
        self._first.close()
        self._second.close()

    def fill(self, rows: int) -> None:
        """Insert rows into every table, some with large values."""
        for table in TABLES:
            for _ in range(rows):
                with self._transaction(self._first):
                    self._insert(self._first, table)

    def run(self, steps: int) -> None:
        """Make so many transactions, one after another or two interleaved."""
        for _ in range(steps):
            kind = self.random.choices(
                [self._single, self._several, self._rolled_back, self._interleaved, self._hot_key],
                [70, 12, 6, 6, 6],
            )[0]
            kind()
            if self._pace_s:
                time.sleep(self._pace_s)

    def insert(self, table: str, identity: str, **given: Any) -> None:
        """Insert one row with random values but these."""
        with self._transaction(self._first):
            self._insert_as(self._first, table, identity, **given)

    # Transactions

    def _single(self) -> None:
        with self._transaction(self._first):
            self._change(self._first)

    def _several(self) -> None:
        with self._transaction(self._first):
            for _ in range(self.random.randrange(2, 7)):
                self._change(self._first)

    def _rolled_back(self) -> None:
        with self._transaction(self._first):
            self._change(self._first)
            self._change(self._first)
            raise psycopg.Rollback

    def _interleaved(self) -> None:
        """The first begins before the second and commits after it: positions are not monotonic."""
        with self._transaction(self._first):
            self._change(self._first)
            with self._transaction(self._second):
                self._change(self._second)
                self._change(self._second)
            self._change(self._first)
        self._reload()

    def _hot_key(self) -> None:
        table = self._table()
        identity = self._any_row(table)
        for _ in range(self.random.randrange(3, 9)):
            if identity is not None:
                with self._transaction(self._first):
                    self._update(self._first, table, identity)

    @contextmanager
    def _transaction(self, connection: Connection) -> Iterator[None]:
        """A transaction.

        One that fails as expected, or is rolled back on purpose, leaves no trace.
        """
        try:
            with connection.transaction():
                yield
                return
        except (*_EXPECTED, psycopg.Rollback):
            pass
        self._reload()

    # Changes

    def _change(self, connection: Connection) -> None:
        changes: list[tuple[Callable[[Connection, str], None], int]] = [
            (self._insert, 22),
            (self._update_any, 30),
            (self._update_large, 8),
            (self._set_null, 8),
            (self._delete, 8),
            (self._replace, 4),
            (self._soft_delete, 7),
            (self._undelete, 7),
            (self._change_key, 4),
            (self._move_info, 6),
            (self._reinsert_info, 4),
            (self._insert_poison, 1),
        ]
        chosen = self.random.choices([change for change, _ in changes], [weight for _, weight in changes])
        chosen[0](connection, self._table())

    def _insert(self, connection: Connection, table: str) -> None:
        if self._max_rows is not None and len(self._rows[table]) >= self._max_rows:
            self._delete(connection, table)
            return
        self._insert_as(connection, table, self._fresh_id(table))

    def _insert_as(
        self,
        connection: Connection,
        table: str,
        identity: str,
        **given: Any,
    ) -> None:
        row = {name: make(self.random) for name, make in GENERATORS[table].items()}
        for name in NULLABLE[table]:
            if self.random.random() < 0.3:
                row[name] = None
        is_large = self.random.random() < 0.3
        if is_large:
            name = self.random.choice(list(LARGE[table]))
            row[name] = LARGE[table][name](self.random)
        if table == "ProductInfo":
            row["product_id"] = self._product_for_info()
        self._execute_insert(connection, table, {"id": identity, **row, **given})
        self._rows[table][identity] = _RowState(is_deleted=False, is_large=is_large)

    def _insert_poison(self, connection: Connection, table: str) -> None:
        if self._poison_left <= 0:
            return
        self._poison_left -= 1
        column, value = self.random.choice(POISON[table])
        identity = self._fresh_id(table)
        self.may_be_dead_lettered.add((table, identity))
        self._insert_as(connection, table, identity, **{column: value})

    def _update_any(self, connection: Connection, table: str) -> None:
        identity = self._any_row(table)
        if identity is not None:
            self._update(connection, table, identity)

    def _update(self, connection: Connection, table: str, identity: str) -> None:
        """Change one to three columns, never a large one: its value stays where it is."""
        names = [name for name in GENERATORS[table] if name not in LARGE[table]]
        chosen = self.random.sample(names, self.random.randrange(1, 4))
        self._set(
            connection,
            table,
            identity,
            {name: GENERATORS[table][name](self.random) for name in chosen},
        )

    def _update_large(self, connection: Connection, table: str) -> None:
        identity = self._any_row(table)
        if identity is None:
            return
        name = self.random.choice(list(LARGE[table]))
        make = self.random.choice([LARGE, GENERATORS])[table][name]
        self._set(connection, table, identity, {name: make(self.random)})
        self._rows[table][identity].is_large = True  # another column may still be

    def _set_null(self, connection: Connection, table: str) -> None:
        identity = self._any_row(table)
        if identity is not None and NULLABLE[table]:
            self._set(connection, table, identity, {self.random.choice(NULLABLE[table]): None})

    def _delete(self, connection: Connection, table: str) -> None:
        identity = self._any_row(table)
        if identity is not None:
            self._execute_delete(connection, table, identity)

    def _replace(self, connection: Connection, table: str) -> None:
        """Delete and insert again under the same id, in one transaction when the caller has one."""
        identity = self._any_row(table)
        if identity is not None:
            self._execute_delete(connection, table, identity)
            self._insert_as(connection, table, identity)

    def _soft_delete(self, connection: Connection, table: str) -> None:
        identity = self._any_row(table)
        if identity is not None:
            self._set(connection, table, identity, {"deleted_at": "2026-05-05 05:05:05+00"})
            self._rows[table][identity].is_deleted = True

    def _undelete(self, connection: Connection, table: str) -> None:
        gone = [identity for identity, state in self._rows[table].items() if state.is_deleted]
        if not gone:
            return
        identity = self.random.choice(gone)
        if self._rows[table][identity].is_large and table != "ProductInfo":
            self._has_no_answer(table, identity)
        self._set(connection, table, identity, {"deleted_at": None})
        self._rows[table][identity].is_deleted = False

    def _change_key(self, connection: Connection, table: str) -> None:
        identity = self._any_row(table)
        if identity is None:
            return
        new = self._fresh_id(table)
        if self._rows[table][identity].is_large:
            self._has_no_answer(table, new)
        if (table, identity) in self.may_be_dead_lettered:
            self.may_be_dead_lettered.add((table, new))
        self._set(connection, table, identity, {"id": new})
        self._rows[table][new] = self._rows[table].pop(identity)

    def _move_info(self, connection: Connection, _table: str) -> None:
        identity = self._any_row("ProductInfo")
        if identity is not None:
            self._set(connection, "ProductInfo", identity, {"product_id": self._product_for_info()})

    def _reinsert_info(self, connection: Connection, _table: str) -> None:
        """Another info row for the same product."""
        identity = self._any_row("ProductInfo")
        if identity is None:
            return
        statement = 'DELETE FROM "ProductInfo" WHERE id = %s RETURNING product_id'
        deleted = connection.execute(statement, [identity]).fetchone()
        self._rows["ProductInfo"].pop(identity)
        if deleted is not None:
            new = self._fresh_id("ProductInfo")
            self._insert_as(connection, "ProductInfo", new, product_id=deleted[0])

    def _has_no_answer(self, table: str, identity: str) -> None:
        if not self._is_full:
            self.may_be_dead_lettered.add((table, identity))

    # Choosing

    def _table(self) -> str:
        return self.random.choices(TABLES, _WEIGHTS)[0]

    def _any_row(self, table: str) -> str | None:
        rows = list(self._rows[table])
        return self.random.choice(rows) if rows else None

    def _fresh_id(self, table: str) -> str:
        awkward = [identity for identity in AWKWARD_IDS if identity not in self._rows[table]]
        if awkward and self.random.random() < 0.25:
            return self.random.choice(awkward)
        self._serial += 1
        return f"{table.lower()}-{self._serial}"

    def _product_for_info(self) -> str:
        """A product that is there, or one that may come later under that id."""
        if self.random.random() < 0.8:
            product = self._any_row("Product")
            if product is not None:
                return product
        return f"product-{self._serial + self.random.randrange(1, 12)}"

    # Statements

    def _set(self, connection: Connection, table: str, identity: str, values: dict[str, Any]) -> None:
        assignments = sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in values)
        statement = sql.SQL("UPDATE {} SET {} WHERE id = %s").format(sql.Identifier(table), assignments)
        connection.execute(statement, [*values.values(), identity])

    def _execute_insert(self, connection: Connection, table: str, row: dict[str, Any]) -> None:
        statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, row)),
            sql.SQL(", ").join([sql.Placeholder()] * len(row)),
        )
        connection.execute(statement, list(row.values()))

    def _execute_delete(self, connection: Connection, table: str, identity: str) -> None:
        statement = sql.SQL("DELETE FROM {} WHERE id = %s").format(sql.Identifier(table))
        connection.execute(statement, [identity])
        self._rows[table].pop(identity, None)

    def _reload(self) -> None:
        """Learn from the database what is there; only committed rows count."""
        for table in TABLES:
            statement = sql.SQL(
                "SELECT id, deleted_at IS NOT NULL, octet_length(row_to_json(t)::text) > {} "
                "FROM {} t ORDER BY id"
            ).format(sql.Literal(_LARGE_BYTES), sql.Identifier(table))
            self._rows[table] = {
                str(identity): _RowState(is_deleted, is_large)
                for identity, is_deleted, is_large in self._first.execute(statement).fetchall()
            }
