"""`ledger`: a job's rows as a PDF and an XLSX, `<ledgerId>.pdf` and `<ledgerId>.xlsx`.

A plain function: it runs on a thread. The same job again makes the same pair again; a file is there whole or
not at all. Libraries: `cdc-sync[ledger]`.
"""

from __future__ import annotations

import io
import json
import os
import re
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import typst
import xlsxwriter  # type: ignore[import-untyped]  # it has no types

from cdc_sync.dispatcher.context import Context, Handler
from cdc_sync.dispatcher.errors import Reject
from cdc_sync.dispatcher.events import LedgerGenerate

__all__ = ["ledger_in", "pdf", "xlsx"]

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}", re.ASCII)
MAX_COLUMNS: Final = 64
TEMPLATE: Final = b"""\
#let ledger = json(bytes(sys.inputs.ledger))
#set document(title: ledger.title)
#set page(paper: "a4", margin: 1.5cm, numbering: "1 / 1")
#set text(size: 9pt)
= #ledger.title
#ledger.facts
#if ledger.columns.len() > 0 {
  table(
    columns: ledger.columns.len(),
    table.header(..ledger.columns.map(name => strong(name))),
    ..ledger.rows.flatten(),
  )
}
"""
"""What comes from a job comes as data, so nothing in it is markup."""


def ledger_in(folder: Path) -> Handler:
    """The handler that writes into this folder."""

    def ledger(job: LedgerGenerate, _: Context) -> None:
        if not NAME.fullmatch(job.ledger_id):
            raise Reject(f"ledgerId {job.ledger_id[:128]!r} cannot be a file's name")
        columns = columns_of(job)
        folder.mkdir(parents=True, exist_ok=True)
        for suffix, make in ((".pdf", pdf), (".xlsx", xlsx)):
            replace(folder / f"{job.ledger_id}{suffix}", make(job, columns))

    return Handler("ledger", ledger, is_async=False)


def columns_of(job: LedgerGenerate) -> list[str]:
    """Every name that a row has, in the order of their appearance."""
    columns = list(dict.fromkeys(name for row in job.rows for name in row))
    if len(columns) > MAX_COLUMNS:
        raise Reject(f"a ledger of {len(columns)} columns; {MAX_COLUMNS} are the most")
    return columns


def title_of(job: LedgerGenerate) -> str:
    """What stands on top."""
    return job.title or f"Ledger {job.ledger_id}"


def facts_of(job: LedgerGenerate) -> str:
    """What stands below it."""
    facts = {"Merchant": job.merchant_id, "Period": job.period, "Rows": str(len(job.rows))}
    return " · ".join(f"{name}: {value}" for name, value in facts.items() if value)


def pdf(job: LedgerGenerate, columns: list[str]) -> bytes:
    """The ledger as PDF."""
    rows = [[cell_text(row.get(name)) for name in columns] for row in job.rows]
    ledger = {"title": title_of(job), "facts": facts_of(job), "columns": columns, "rows": rows}
    inputs = {"ledger": json.dumps(ledger, ensure_ascii=False)}
    made: bytes = typst.compile(TEMPLATE, sys_inputs=inputs, format="pdf")
    return made


def xlsx(job: LedgerGenerate, columns: list[str]) -> bytes:
    """The ledger as XLSX. Texts stay texts: nothing becomes a formula or a link."""
    content = io.BytesIO()
    plain = {"strings_to_formulas": False, "strings_to_urls": False, "in_memory": True}
    with xlsxwriter.Workbook(content, plain) as book:
        sheet = book.add_worksheet("Ledger")
        bold = book.add_format({"bold": True})
        sheet.write_string(0, 0, title_of(job), bold)
        sheet.write_string(1, 0, facts_of(job))
        for number, name in enumerate(columns):
            sheet.write_string(3, number, name, bold)
        for line, row in enumerate(job.rows, 4):
            for number, name in enumerate(columns):
                value = row.get(name)
                if isinstance(value, int | Decimal) and not isinstance(value, bool):
                    sheet.write_number(line, number, value)
                else:
                    sheet.write_string(line, number, cell_text(value))
    return content.getvalue()


def cell_text(value: Any) -> str:
    """A cell as text."""
    match value:
        case None:
            return ""
        case str():
            return value
        case list() | dict():
            return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def replace(path: Path, content: bytes) -> None:
    """The file with this content, at once."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o640)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
