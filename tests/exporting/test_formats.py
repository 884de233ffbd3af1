"""CSV and Parquet: a row for every event, which a spreadsheet and other people's readers take."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caretrail.exporting import formats
from caretrail.exporting.columns import COLUMNS
from caretrail.exporting.selection import Selection
from caretrail.exporting.writing import write_events
from tests.api.arr import event
from tests.exporting.world import announce, search, within
from tests.storage.world import SENDER, submission

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caretrail.exporting.formats import Format
    from caretrail.opening import Opened

ROOT = Path(__file__).parents[2]
ALL = Selection()
CSV, PARQUET = (formats.of_name(name) for name in ("csv", "parquet"))
RICH: dict[str, Any] = {
    "subtype": [
        {"system": "http://hl7.org/fhir/restful-interaction", "code": "read"},
        {"code": "x"},
    ],
    "action": "R",
    "outcome": "4",
    "outcomeDesc": '=HYPERLINK("http://evil.test"), a "quoted" word\nand a line',
    "agent": [
        {
            "type": {"coding": [{"system": "http://types.test", "code": "IRCP"}]},
            "who": {"reference": "Practitioner/dr-1"},
            "name": "Ä. Ärztin",
            "requestor": True,
            "network": {"address": "10.0.0.7", "type": "2"},
            "purposeOfUse": [{"coding": [{"system": "http://why.test", "code": "TREAT"}]}],
        },
        {"who": {"identifier": {"system": "urn:x", "value": "7"}}, "requestor": False},
    ],
    "entity": [
        {"what": {"reference": "Patient/p1"}},
        {"what": {"display": "no reference"}, "name": "a name"},
    ],
}


async def made(log: Opened, form: Format, selection: Selection = ALL, **options: Any) -> bytes:
    target = io.BytesIO()
    said = await announce(log, selection, form.media)
    await write_events(log.repository, selection, target, form, said=said, **options)
    return target.getvalue()


async def both(log: Opened) -> tuple[list[dict[str, str]], list[dict[str, Any]], list[Any]]:
    """Return the same events as rows of CSV, as rows of Parquet, and as they are served."""
    bodies = [json.dumps(event(**RICH, recorded="2026-03-04T05:06:07+01:00")).encode()]
    await log.repository.append([submission(one) for one in bodies], sender=SENDER)
    until = Selection((), (), 0, log.repository.size)
    rows = csv.DictReader(io.StringIO((await made(log, CSV, until)).decode(), newline=""))
    table = pyarrow.parquet.read_table(io.BytesIO(await made(log, PARQUET, until)))
    lines = (await made(log, formats.NDJSON, until)).splitlines()
    return list(rows), table.to_pylist(), [json.loads(one) for one in lines]


def test_both_tables_have_a_row_for_each_event(tmp_path: Path) -> None:
    rows, table, events = within(tmp_path, both, count=1_100)  # More than a portion.
    names = [column.name for column in COLUMNS]
    assert len(rows) == len(table) == len(events) == 1_102
    assert list(rows[0]) == names
    assert list(table[0]) == [*names, "resource"]
    assert [json.loads(row["resource"]) for row in table] == events
    for row, other, resource in zip(rows, table, events, strict=True):
        assert row["id"] == other["id"] == resource["id"]
        assert row["recorded"] == other["recorded"] == resource["recorded"]
        assert int(row["entry"]) == other["entry"]
        assert row["received"] == resource["meta"]["lastUpdated"]


def test_a_row_says_who_did_what(tmp_path: Path) -> None:
    rows, table, _ = within(tmp_path, both, count=0)
    row, other = rows[-1], table[-1]
    assert row["subtype"] == "http://hl7.org/fhir/restful-interaction|read; x"
    assert row["agent"] == "Practitioner/dr-1; urn:x|7"
    assert row["agent_name"] == "Ä. Ärztin; "
    assert row["agent_type"] == "http://types.test|IRCP; "
    assert row["agent_address"] == "10.0.0.7; "
    assert row["requestor"] == "Practitioner/dr-1"
    assert row["patient"] == "Patient/p1"
    assert row["purpose"] == "http://why.test|TREAT"
    assert row["entity"] == "Patient/p1; no reference"
    assert row["action"] == other["action"] == "R"
    assert other["agent_name"] == ["Ä. Ärztin", ""]
    assert other["entity_name"] == ["", "a name"]
    # No spreadsheet takes a sender's text for a formula; other readers get it as it is.
    assert row["outcome_description"] == "'" + RICH["outcomeDesc"]
    assert other["outcome_description"] == RICH["outcomeDesc"]


def test_a_search_that_finds_nothing_is_a_table_without_rows(tmp_path: Path) -> None:
    nothing = search("patient=Patient/nobody")

    async def do(log: Opened) -> tuple[bytes, bytes]:
        return await made(log, CSV, nothing), await made(log, PARQUET, nothing)

    rows, table = within(tmp_path, do)
    assert rows.decode().splitlines() == [",".join(column.name for column in COLUMNS)]
    assert pyarrow.parquet.read_table(io.BytesIO(table)).num_rows == 0


def test_rows_are_gone_on_with_under_one_heading(tmp_path: Path) -> None:
    async def do(log: Opened) -> None:
        until = Selection((), (), 0, log.repository.size)
        whole = await made(log, CSV, until)
        first = await made(log, CSV, Selection((), (), 0, 20))
        rest = await made(log, CSV, until, after=19, is_begun=True)
        assert first + rest == whole

    within(tmp_path, do)


@given(st.lists(st.text(max_size=20), max_size=3))
def test_no_cell_begins_a_formula(texts: Sequence[str]) -> None:
    cell = formats.cell(list(texts))
    assert not str(cell).startswith(("=", "+", "-", "@", "\t", "\r"))
    assert "; ".join(texts) in str(cell) or not any(texts)


@pytest.mark.parametrize(
    ("name", "form"),
    [("a.csv", CSV), ("a.csv.gz", CSV), ("a.parquet", PARQUET), ("a", formats.NDJSON)],
)
def test_the_name_of_a_file_says_its_form(tmp_path: Path, name: str, form: Format) -> None:
    assert formats.of_file(tmp_path / name) is form


def test_the_guide_names_every_column() -> None:
    guide = (ROOT / "docs" / "how-to" / "export-evidence.md").read_text(encoding="utf-8")
    for column in COLUMNS:
        assert f"`{column.name}`" in guide, column.name
