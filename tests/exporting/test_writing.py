"""NDJSON: every event once, in the order of the log, as it is served; and to be gone on with."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest

from caretrail.errors import TooLargeError
from caretrail.exporting.formats import NDJSON, line
from caretrail.exporting.selection import Selection
from caretrail.exporting.writing import write_events
from tests.exporting.world import announce, erase, exports, found, search, within
from tests.storage.world import SENDER, submission

if TYPE_CHECKING:
    from pathlib import Path

    from caretrail.exporting.announcing import Progress
    from caretrail.opening import Opened

ALL = Selection()


async def written(log: Opened, selection: Selection, **options: Any) -> list[dict[str, Any]]:
    target = io.BytesIO()
    said = await announce(log, selection, NDJSON.media)
    exported = await write_events(log.repository, selection, target, NDJSON, said=said, **options)
    lines = target.getvalue().splitlines()
    assert exported.events == len(lines)
    return [json.loads(one) for one in lines]


def numbers(events: list[dict[str, Any]]) -> list[str]:
    return [one["entity"][0]["what"]["reference"] for one in events if "name" not in one]


def test_an_export_of_all_is_the_whole_log(tmp_path: Path) -> None:
    async def do(log: Opened) -> tuple[list[dict[str, Any]], list[str]]:
        records = await log.repository.look(
            lambda reads: list(reads.entries(0, log.repository.size))
        )
        return await written(log, ALL), [one.id for one in records]

    events, ids = within(tmp_path, do, count=1200)
    assert [one["id"] for one in events] == ids
    assert len(ids) == 1201  # With the start.
    assert all(one["meta"]["versionId"] == "1" for one in events)


def test_an_export_of_a_search_has_what_it_finds(tmp_path: Path) -> None:
    text = "patient=Patient/p3&agent=Practitioner/dr-1"

    async def do(log: Opened) -> tuple[list[dict[str, Any]], list[int]]:
        return await written(log, search(text)), await found(log, text)

    events, entries = within(tmp_path, do)
    assert len(events) == len(entries) == 3
    assert set(numbers(events)) == {"Patient/p3"}


@pytest.mark.parametrize(
    "selection", [ALL, search("agent=Practitioner/dr-0")], ids=["all", "search"]
)
def test_an_export_goes_on_after_any_entry(tmp_path: Path, selection: Selection) -> None:
    async def do(log: Opened) -> None:
        until = Selection(selection.filters, (), 0, log.repository.size)
        whole = await written(log, until)
        last: list[Progress] = []
        for after in (0, 17, 60):
            rest = await written(log, until, after=after, on_progress=last.append)
            first = await written(log, Selection(until.filters, (), 0, after + 1))
            wanted = whole if until.filters else first + rest
            assert wanted == whole
            assert rest == whole[len(whole) - len(rest) :]
        assert last[0].last == (58 if selection.filters else 60)

    within(tmp_path, do)


def test_what_was_erased_is_not_exported(tmp_path: Path) -> None:
    async def do(log: Opened) -> list[dict[str, Any]]:
        await erase(log, [3, 4])
        return await written(log, ALL)

    assert len(within(tmp_path, do)) == 61 - 2 + 1


def test_an_export_is_told_of_before_anything_is_written(tmp_path: Path) -> None:
    async def do(log: Opened) -> list[dict[str, Any]]:
        with pytest.raises(TooLargeError, match="export less"):
            await written(log, search("action=R"), bytes_max=100)
        return await exports(log)

    (told,) = within(tmp_path, do)
    assert (told["events"], told["format"]) == ("60", NDJSON.media)


def test_an_event_on_several_lines_gets_one(tmp_path: Path) -> None:
    """White space goes, and nothing else: digits, order and escapes stay."""
    sent = (
        b'{"resourceType":"AuditEvent",\n "type":{"code":"110110"}, "action":"R",\r\n'
        b'"recorded":"2026-03-04T05:06:07.080Z","agent":[{"requestor":true}],'
        b'"source":{"observer":{"display":"a\\nb \\u00e4"}},'
        b'"extension":[{"url":"http://x.example/d",\n"valueDecimal":1.50}]}'
    )

    async def do(log: Opened) -> bytes:
        (stored,) = await log.repository.append([submission(sent)], sender=SENDER, is_backfill=True)
        record = await log.repository.read(stored.id)
        assert record is not None
        return line(record)

    made = within(tmp_path, do, count=0)
    assert made.count(b"\n") == 1
    assert b'"valueDecimal":1.50}' in made
    assert json.loads(made)["source"]["observer"]["display"] == "a\nb ä"
