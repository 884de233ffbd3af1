"""Nothing that somebody may not see shows in any answer: the oracle is a log without it (T-20, T-21).

Two logs get the same events, one of them only those that the reader may see, chosen in plain Python.
Whatever the reader asks of the first is what anybody would be answered of the second.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from caretrail.access import admission
from caretrail.access.admission import Admission
from caretrail.access.view import EVERYTHING, NOTHING, View, of_organisation, of_producer
from caretrail.errors import ExpiredError, InvalidError, ParameterError
from caretrail.fhir import intake, temporal
from caretrail.repository import Repository, Sender, Submission
from caretrail.search.elements import Facts
from caretrail.search.parameters import BY_CODE
from caretrail.search.query import Query, parse
from caretrail.search.reference import literal
from caretrail.storage.stores import open_store
from tests.search import strategies as world
from tests.storage.stores import KINDS

if TYPE_CHECKING:
    from caretrail.search.record import Record
    from tests.storage.stores import Kind

BASE = "http://us.example/fhir"
NOW = 1_780_272_000
SENDERS = (Sender("s"), Sender("s", "north"), Sender("t", "south"), Sender("n" * 130, "o" * 130))


def _patients(record: Record) -> set[str]:
    parts = [literal(one.reference) for one in Facts(record).patients if one.reference]
    return {one.id for one in parts if one and one.type == "Patient"}


def _type(record: Record) -> tuple[str | None, str | None]:
    return record.event.type.system, record.event.type.code


def _narrow(text: str) -> View:
    return EVERYTHING.also(admission.restriction(text, base=BASE), text)


def _claimed(role: str, **claims: Any) -> View:
    found, _ = Admission(base=BASE).admit({"iss": "i", "sub": "s", **claims}, now=0)
    view = found.view("search-type")
    assert view is not None, role
    return view


DCM = "http://dicom.nema.org/resources/ontology/DCM"
# A view, and who may be seen in it, said in plain Python.
Seen = tuple[View, Callable[["Record"], bool]]
VIEWS: tuple[Seen, ...] = (
    (of_organisation(""), lambda r: r.organisation == ""),
    (of_organisation("north"), lambda r: r.organisation == "north"),
    (of_organisation("o" * 130), lambda r: r.organisation == "o" * 130),
    (of_organisation("o" * 131), lambda r: False),
    (of_producer("s", "north"), lambda r: (r.producer, r.organisation) == ("s", "north")),
    (of_producer("n" * 130, "*"), lambda r: r.producer == "n" * 130),
    (NOTHING, lambda r: False),
    (_narrow("patient=Patient/1,Patient/2"), lambda r: bool(_patients(r) & {"1", "2"})),
    (
        _narrow("date=ge2026-01-01&date=lt2026-02-01"),
        lambda r: 1_767_225_600 <= temporal.exact_key(r.event.recorded)[0] < 1_769_904_000,
    ),
    (_narrow(f"type:not={DCM}|110114"), lambda r: _type(r) != (DCM, "110114")),
)  # fmt: skip
pairs = st.lists(world.pairs, max_size=2)


class Log:
    """A log in a folder of its own."""

    def __init__(self, kind: Kind, folder: Path) -> None:
        folder.mkdir()
        self.ticks = 0
        self.storage = open_store(kind.place(folder))
        self.repository = Repository(self.storage, clock=self.clock)

    def clock(self) -> float:
        self.ticks += 1
        return NOW + self.ticks / 1000

    async def add(self, body: bytes, sender: Sender) -> None:
        found = intake.parse(body)
        await self.repository.append([Submission(body, found.form, found.event)], sender=sender)

    def records(self) -> list[Record]:
        reads = self.storage.searcher()
        with reads.snapshot() as size:
            return list(reads.entries(0, size))


def _bodies(records: list[Record]) -> list[bytes]:
    return [one.body for one in records]


async def _check(
    kind: Kind, folder: Path, events: Any, searches: Any, view: View, seen: Any
) -> None:
    whole, visible = Log(kind, folder / "whole"), Log(kind, folder / "visible")
    try:
        for content, sender in events:
            body = msgspec.json.encode(content)
            try:
                await whole.add(body, sender)
            except InvalidError:
                continue
        for record in whole.records():
            assert view.includes(record) is bool(seen(record))
            if seen(record):
                await visible.add(record.body, Sender(record.producer, record.organisation))
        for asked, sort in searches:
            await _compare(whole.repository, visible.repository, view, [*asked, ("_sort", sort)])
    finally:
        await whole.repository.close()
        await visible.repository.close()


# What depends on receipt differs between two logs, whoever asks.
_OF_RECEIPT = ("sequence", "_lastUpdated", "_id", "flag")


async def _compare(whole: Repository, visible: Repository, view: View, asked: Any) -> None:
    if any(code in name or code in value for name, value in asked for code in _OF_RECEIPT):
        return
    try:
        query = parse(asked, strict=True, base=BASE, now=NOW * 1000)
    except ParameterError:
        return
    one = await whole.search(view.over(query))
    other = await visible.search(query)
    assert _bodies(one.records) == _bodies(other.records), asked
    assert (one.total, one.estimated) == (other.total, other.estimated), asked
    small = [*asked, ("_count", "2"), ("_total", "accurate")]
    await _compare_pages(whole, visible, view, small)
    for interval in ("year", None):
        by = ("type", "patient", "agent-name", "outcome")
        try:
            stats = await visible.stats(query, by, interval)
        except ParameterError:
            continue
        assert await whole.stats(view.over(query), by, interval) == stats, asked


async def _compare_pages(whole: Repository, visible: Repository, view: View, asked: Any) -> None:
    links: tuple[str | None, str | None] = (None, None)
    while True:
        pages = []
        for log, link, within in ((whole, links[0], view), (visible, links[1], EVERYTHING)):
            found = [*asked, *([("_page", link)] if link else [])]
            query = parse(found, strict=True, base=BASE, now=NOW * 1000)
            pages.append(await log.search(within.over(query)))
        one, other = pages
        assert _bodies(one.records) == _bodies(other.records), asked
        assert one.total == other.total
        assert (one.next is None) is (other.next is None)
        assert (one.previous is None) is (other.previous is None)
        if one.next is None:
            return
        links = (one.next, other.next)


@pytest.mark.parametrize("kind", KINDS)
def test_every_answer_is_that_of_a_log_without_the_rest(kind: str) -> None:
    @settings(
        max_examples=KINDS[kind].examples(15),
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.generate),  # Ten events of this world shrink for minutes.
    )
    @given(
        events=st.lists(st.tuples(world.event, st.sampled_from(SENDERS)), min_size=1, max_size=10),
        searches=st.lists(st.tuples(pairs, world.sorts.filter(bool)), min_size=1, max_size=5),
        view=st.sampled_from(VIEWS),
    )
    def check(events: Any, searches: Any, view: Seen) -> None:
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(_check(KINDS[kind], Path(folder), events, searches, *view))

    check()


def test_a_page_link_is_of_no_use_in_another_view_and_says_nothing(tmp_path: Path) -> None:
    async def check() -> None:
        log = Log(KINDS["sqlite"], tmp_path / "log")
        try:
            for number in range(5):
                body = json.dumps(_event(number)).encode()
                await log.add(body, Sender("s", "north"))
            query = parse([("_count", "2")], strict=True, base=BASE)
            page = await log.repository.search(of_organisation("north").over(query))
            link = [("_count", "2"), ("_page", page.next or "")]
            again = parse(link, strict=True, base=BASE)
            for view in (EVERYTHING, of_organisation("south"), of_organisation("")):
                with pytest.raises(ExpiredError):
                    await log.repository.search(view.over(again))
            assert (await log.repository.search(of_organisation("north").over(again))).records
            import base64

            raw = base64.urlsafe_b64decode((page.next or "") + "==")
            with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
                msgspec.json.decode(raw[16:])  # It is no JSON that anybody can read.
        finally:
            await log.repository.close()

    asyncio.run(check())


def _event(number: int) -> dict[str, Any]:
    return {
        "resourceType": "AuditEvent",
        "type": {"code": "rest"},
        "recorded": f"2026-01-01T00:00:0{number}Z",
        "agent": [{"requestor": True}],
        "source": {"observer": {"display": "x"}},
    }


def test_a_view_with_parameters_refuses_others_in_clauses_and_sorts() -> None:
    view = _claimed("patient", patient="p1", scope="patient/AuditEvent.rs")
    for asked in (("agent-name", "Ada"), ("_sort", "agent"), ("_content", "x"), ("entity", "Patient/p2"), ("patient.identifier", "1")):  # fmt: skip
        query = parse([asked], strict=True, base=BASE)
        with pytest.raises(ParameterError, match="with this credential"):
            view.over(query)
    assert view.over(parse([("date", "2026"), ("_sort", "-date")], strict=True, base=BASE)).within
    with pytest.raises(ParameterError):
        view.check(["type", "agent"])
    assert not view.is_whole
    EVERYTHING.check(["agent"])


def test_a_patient_asks_for_himself_alone() -> None:
    view = _claimed("patient", patient="p1", scope="patient/AuditEvent.rs")
    for value, kept in (
        ("Patient/p1", 1),
        ("p1", 1),
        ("Patient/p2", 0),
        ("Patient/p1,Patient/p2", 1),
        ("Practitioner/p1", 0),
        ("urn:x", 0),
    ):
        query = view.over(parse([("patient", value)], strict=True, base=BASE))
        (clause,) = query.clauses
        assert len(clause.values) == kept, value
    assert BY_CODE["patient"] is clause.parameter
    assert Query().within == ()
