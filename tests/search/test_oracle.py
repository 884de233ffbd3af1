"""Every query on every generated set of events finds what `search.matches` says (DESIGN, 7)."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from caretrail.errors import InvalidError, ParameterError
from caretrail.fhir import intake
from caretrail.repository import Page, Repository, Sender, Submission
from caretrail.search.matches import matches
from caretrail.search.order import Order
from caretrail.search.query import Query, parse
from caretrail.storage import searching
from caretrail.storage.stores import open_store
from tests.search import strategies as world
from tests.storage.stores import KINDS

if TYPE_CHECKING:
    from caretrail.search.record import Record
    from tests.storage.stores import Kind

BASE = "http://us.example/fhir"
NOW = 1_780_272_000  # 2026-06-01T00:00:00Z


class Log:
    """A log in a folder of its own, its clock a millisecond further at each look."""

    def __init__(self, kind: Kind, folder: Path) -> None:
        self.ticks = 0
        self.storage = open_store(kind.place(folder))
        self.repository = Repository(self.storage, clock=self.clock)

    def clock(self) -> float:
        self.ticks += 1
        return NOW + self.ticks / 1000

    async def add(self, event: dict[str, Any]) -> None:
        body = msgspec.json.encode(event)
        found = intake.parse(body)
        await self.repository.append(
            [Submission(body, found.form, found.event)], sender=Sender("s")
        )

    def records(self) -> list[Record]:
        reads = self.storage.searcher()
        with reads.snapshot() as size:
            return list(reads.entries(0, size))


async def _pages(repository: Repository, pairs: list[tuple[str, str]]) -> list[Page]:
    pages = [await repository.search(_parse(pairs))]
    while (link := pages[-1].next) is not None:
        pages.append(await repository.search(_parse([*pairs, ("_page", link)])))
    return pages


def _parse(pairs: list[tuple[str, str]]) -> Query:
    return parse(pairs, strict=True, base=BASE, now=NOW * 1000)


async def _check(
    kind: Kind, folder: Path, events: list[dict[str, Any]], searches: list[Any]
) -> None:
    log = Log(kind, folder)
    try:
        for event in events:
            try:
                await log.add(event)
            except InvalidError:
                continue
        everything = log.records()
        assert len({record.id for record in everything}) == len(everything)
        for pairs, sort in searches:
            await _compare(log.repository, everything, pairs, sort)
    finally:
        await log.repository.close()


async def _compare(repository: Repository, everything: list[Record], pairs: Any, sort: str) -> None:
    asked = [*pairs, *([("_sort", sort)] if sort else [])]
    try:
        query = _parse(asked)
    except ParameterError:
        return
    order = Order.of(query)
    expected = sorted((one for one in everything if matches(one, query)), key=order.key())
    ids = [one.id for one in expected]
    page = await repository.search(_parse([*asked, ("_count", "1000"), ("_total", "accurate")]))
    assert [one.id for one in page.records] == ids, asked
    assert page.total == len(ids), asked
    counted = await repository.search(_parse([*asked, ("_summary", "count")]))
    assert counted.total == len(ids), asked
    small = await _pages(repository, [*asked, ("_count", "2"), ("_total", "accurate")])
    assert [one.id for page in small for one in page.records] == ids, asked
    assert {page.total for page in small} == {len(ids)}, asked
    if len(small) > 1 and small[-1].previous is not None:
        back = await repository.search(
            _parse([*asked, ("_count", "2"), ("_page", small[-1].previous)])
        )
        assert [one.id for one in back.records] == [one.id for one in small[-2].records], asked


@pytest.mark.parametrize("kind", KINDS)
def test_every_search_finds_what_its_meaning_says(kind: str) -> None:
    """Post generated events, and compare generated searches with the reference, page by page."""

    @settings(
        max_examples=KINDS[kind].examples(60),
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(
        events=st.lists(world.event, min_size=1, max_size=12),
        searches=st.lists(st.tuples(world.queries, world.sorts), min_size=1, max_size=12),
    )
    def check(events: Any, searches: Any) -> None:
        with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
            # The index answers, however few events there are.
            patch.setattr(searching, "_FEW_ENTRIES", 0)
            asyncio.run(_check(KINDS[kind], Path(folder), events, searches))

    check()
