"""A ledger is a real PDF and a real XLSX, read back by other libraries."""

from __future__ import annotations

import io
import json
from pathlib import Path

import openpyxl
import pypdf
import pytest

from cdc_sync.dispatcher.context import Context
from cdc_sync.dispatcher.errors import Reject
from cdc_sync.dispatcher.events import LedgerGenerate
from cdc_sync.dispatcher.ledger import ledger_in
from cdc_sync.dispatcher.reading import read
from tests.dispatcher.harness import Outbox

ROWS = [
    {"ngày": "2026-01-01", "số tiền": 10.5, "note": '=HYPERLINK("http://x")'},
    {"ngày": "2026-01-02", "số tiền": -3, "note": "#panic() $x$ *b* \\ [c]", "more": {"a": [1]}},
]


def written(folder: Path, **job: object) -> list[str]:
    """The files that a job leaves."""
    context = Context("ledger", "ledger.generate", "kafka", "k", b"", (), Outbox())
    event = read(LedgerGenerate, json.dumps(job).encode())
    ledger_in(folder).call(event, context)
    return sorted(path.name for path in folder.iterdir())


def test_both_say_what_the_job_says(tmp_path: Path) -> None:
    """Vietnamese, and texts that would be markup or a formula elsewhere."""
    assert written(tmp_path, ledgerId="l-1", title="Sổ cái", merchantId="m-1", rows=ROWS) == [
        "l-1.pdf",
        "l-1.xlsx",
    ]
    content = (tmp_path / "l-1.pdf").read_bytes()
    assert content.startswith(b"%PDF-")
    text = "\n".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(content)).pages)
    for expected in ("Sổ cái", "Merchant: m-1", "số tiền", "10.5", "-3", "#panic()"):
        assert expected in text
    sheet = openpyxl.load_workbook(tmp_path / "l-1.xlsx").active
    assert sheet is not None
    values = [list(row) for row in sheet.iter_rows(values_only=True)]
    assert values[0][0] == "Sổ cái"
    assert values[3] == ["ngày", "số tiền", "note", "more"]
    assert values[4][:3] == ["2026-01-01", 10.5, '=HYPERLINK("http://x")']
    assert values[5] == ["2026-01-02", -3, ROWS[1]["note"], '{"a": [1]}']
    assert {cell.data_type for row in sheet.iter_rows() for cell in row} <= {"s", "n"}, "a formula"


def test_the_same_job_again_is_the_same_pair(tmp_path: Path) -> None:
    for _ in range(2):
        assert written(tmp_path, ledgerId="l", rows=ROWS) == ["l.pdf", "l.xlsx"]


def test_a_ledger_without_rows_is_one(tmp_path: Path) -> None:
    assert written(tmp_path, ledgerId="empty") == ["empty.pdf", "empty.xlsx"]


def test_too_many_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Reject, match="65 columns"):
        written(tmp_path, ledgerId="wide", rows=[{str(n): n for n in range(65)}])


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    """A folder in the way of the second: the first is whole, and nothing half is left."""
    (tmp_path / "l.xlsx").mkdir()
    with pytest.raises(IsADirectoryError):
        written(tmp_path, ledgerId="l", rows=ROWS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["l.pdf", "l.xlsx"]
    assert pypdf.PdfReader(tmp_path / "l.pdf").pages
