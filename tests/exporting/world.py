"""A log that is open with its keys, and exports out of it."""

from __future__ import annotations

import asyncio
import io
import json
from typing import TYPE_CHECKING, Any, TypeVar
from zipfile import ZipFile

from caretrail import opening
from caretrail.evidence import verify
from caretrail.exporting import bundle
from caretrail.exporting.announcing import Announcement, announced
from caretrail.exporting.bundle import Cutter
from caretrail.exporting.selection import Filter, Selection
from caretrail.patterns import own
from caretrail.search import query as search_query
from caretrail.settings import Settings
from tests.api.arr import event
from tests.storage.world import SENDER, submission

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from caretrail.opening import Opened

T = TypeVar("T")
BASE = "http://arr.test/fhir"


def within(
    folder: Path, do: Callable[[Opened], Awaitable[T]], *, count: int = 60, **settings: Any
) -> T:
    """Do something with a log of `count` events about seven patients by three people."""

    async def run() -> T:
        async with opening.opened(Settings(data=folder / "data", **settings)) as log:
            if count:
                await fill(log, count)
            return await do(log)

    return asyncio.run(run())


async def fill(log: Opened, count: int, *, start: int = 0) -> None:
    sent = [submission(body(n)) for n in range(start, start + count)]
    for at in range(0, count, 500):
        await log.repository.append(sent[at : at + 500], sender=SENDER, is_backfill=True)


def body(n: int) -> bytes:
    made = event(
        id=f"e{n}",
        recorded=f"2026-03-04T05:{n // 60 % 60:02}:{n % 60:02}.080Z",
        agent=[{"who": {"reference": f"Practitioner/dr-{n % 3}"}, "requestor": True}],
        entity=[{"what": {"reference": f"Patient/p{n % 7}"}}],
    )
    return json.dumps(made, ensure_ascii=False).encode()


def search(*texts: str) -> Selection:
    return Selection.of(filters=[Filter.parse(one, base=BASE, now=0) for one in texts])


async def announce(log: Opened, selection: Selection, media: str) -> Announcement:
    return Announcement(log.repository, query=selection.text(), media=media, requester="officer")


async def cut(log: Opened, selection: Selection, folder: Path) -> bytes:
    """Return the bundle of a selection."""
    target = folder / "bundle.zip"
    target.unlink(missing_ok=True)
    async with announced(
        log.repository, query=selection.text(), media=bundle.MEDIA, requester="officer"
    ) as said:
        await Cutter(log.repository, log.publisher, selection, said=said).write(target)
    return target.read_bytes()


def members(archive: bytes) -> dict[str, bytes]:
    with ZipFile(io.BytesIO(archive)) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def rows(archive: bytes, member: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in members(archive)[member].splitlines()]


def disclosed(archive: bytes) -> list[int]:
    return [row["index"] for row in rows(archive, "events.ndjson")]


def checked(archive: bytes, policy: bytes | None = None) -> verify.Check:
    return verify.Check(archive, policy)


async def erase(log: Opened, entries: list[int]) -> int:
    """Erase entries as a retention run does; return the entry that says so."""
    said = own.erased(
        log.repository.speaking(), entries=entries, policy="10 years", requester="a", approver="b"
    )
    stored = await log.repository.record_own(said)
    await log.repository.erase(entries, cause=stored.entry)
    return stored.entry


async def found(log: Opened, text: str) -> list[int]:
    """Return the entries that an ordinary search finds."""
    pairs = [tuple(pair.split("=", 1)) for pair in text.split("&")]
    query = search_query.parse([*pairs, ("_count", "1000")], strict=True, base=BASE)  # type: ignore[list-item]
    page = await log.repository.search(query)
    assert page.next is None
    return sorted(record.entry for record in page.records)


async def exports(log: Opened) -> list[dict[str, Any]]:
    """Return the details of the log's own events that tell of exports, in their order."""
    last = await log.repository.look(lambda reads: list(reads.entries(0, log.repository.size)))
    own_events = [json.loads(record.body) for record in last if record.kind == 1]
    return [
        {row["type"]: row["valueString"] for row in one["entity"][0]["detail"]}
        for one in own_events
        if one["type"]["code"] == "110106"
    ]
