"""Erasure, retention and holds: the content goes everywhere, the evidence stays."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from caretrail.errors import NotFoundError, ParameterError
from caretrail.privacy import erasing, holds
from caretrail.privacy.erasing import Order
from caretrail.search.query import parse
from caretrail.storage.sqlite import verify
from tests.opening.logs import append, run, settings
from tests.storage import world

if TYPE_CHECKING:
    from pathlib import Path

    from caretrail.opening import Opened
    from caretrail.repository import Repository

ORDER = Order("policy-6", "data protection officer", "chief physician")
MARKS = ("Xenomarkwho", "-pat-xenomark", "xenomarknote", "xenomarkreq")


# In front, so that the index does not keep two of them as one and what differs.
LETTERS = "qzwjkvybxg"


def marked(number: int = 0, recorded: str = "2019-05-05T05:05:05Z") -> bytes:
    """Return an event whose words nobody else uses."""
    name, patient, text, request = (f"{LETTERS[number]}{mark}" for mark in MARKS)
    return json.dumps(
        {
            "resourceType": "AuditEvent",
            "type": {"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "110110"},
            "action": "R",
            "recorded": recorded,
            "agent": [{"name": name, "who": {"reference": "Practitioner/1"}, "requestor": True}],
            "source": {"observer": {"display": "ward"}},
            "entity": [
                {"what": {"reference": f"Patient/{patient}"}, "description": text},
                {"what": {"identifier": {"value": request}},
                 "type": {"system": "https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType", "code": "XrequestId"}},
            ],
        }
    ).encode()  # fmt: skip


async def count(repository: Repository, name: str, value: str) -> int:
    page = await repository.search(
        parse([(name, value), ("_total", "accurate")], strict=True, base="")
    )
    assert page.total == len(page.records)
    return len(page.records)


def test_no_file_of_the_folder_has_what_was_erased(tmp_path: Path) -> None:
    using = settings(tmp_path)
    (gone,) = run(using, append(marked()))
    (other, *_) = run(using, append(*world.bodies(300)))
    before = verify(using.folder)
    assert b"xenomark" in _everything(using.folder)

    async def work(log: Opened) -> None:
        repository = log.repository
        assert await count(repository, "patient", "Patient/q-pat-xenomark") == 1
        (entry,) = await erasing.redact(repository, [gone.id], ORDER)
        assert entry == gone.entry
        for name, value in (
            ("patient", "Patient/q-pat-xenomark"),
            ("agent-name", "qXenomarkwho"),
            ("_content", "qxenomarknote"),
            ("_id", gone.id),
        ):
            assert await count(repository, name, value) == 0
        assert await repository.read(gone.id) is None
        assert await repository.read(other.id) is not None

    run(using, work)
    assert b"xenomark" not in _everything(using.folder)
    report = verify(using.folder)
    assert report.whole, report.findings
    assert report.erased == 1
    assert report.size > before.size


def _everything(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir()).lower()


def test_the_log_says_who_erased_what_and_why(tmp_path: Path) -> None:
    using = settings(tmp_path)
    (gone,) = run(using, append(marked()))

    async def work(log: Opened) -> None:
        await erasing.redact(log.repository, [gone.id], ORDER)
        page = await log.repository.search(parse([("subtype", "110135")], strict=True, base=""))
        (record,) = page.records
        assert record.event.action == "D"
        (entity,) = record.event.entity or ()
        assert {row.type: row.valueString for row in entity.detail or ()} == {
            "requester": ORDER.requester,
            "approver": ORDER.approver,
            "policy": ORDER.policy,
            "caretrail-entry": str(gone.entry),
        }
        sealed = await log.repository.prove(
            lambda proofs: next(proofs.sealed(gone.entry, gone.entry + 1))
        )
        assert sealed.record is None
        assert sealed.salt is None
        assert sealed.cause == record.entry

    run(using, work)


def test_nothing_is_erased_when_one_event_cannot_be(tmp_path: Path) -> None:
    using = settings(tmp_path)
    first, second = run(using, append(marked(1), marked(2)))

    async def work(log: Opened) -> None:
        repository = log.repository
        (own,) = (
            await repository.search(
                parse([("subtype", "110120"), ("_count", "1")], strict=True, base="")
            )
        ).records
        await holds.place(repository, "patient=Patient/w-pat-xenomark", "court order")
        for events, error in (
            ([first.id, "00000000-0000-7000-8000-000000000000"], NotFoundError),
            ([first.id, own.id], ParameterError),
            ([first.id, second.id], ParameterError),
        ):
            with pytest.raises(error):
                await erasing.redact(repository, events, ORDER)
        with pytest.raises(ParameterError):
            await erasing.redact(repository, [first.id], Order("", "somebody"))
        assert await repository.read(first.id) is not None

    run(using, work)
    assert verify(using.folder).erased == 0


@pytest.mark.parametrize("results", ["_summary=count", "_count=0", "_count=1", "_page=x"])
def test_a_hold_covers_all_that_its_search_finds_whatever_is_shown_of_it(
    results: str, tmp_path: Path
) -> None:
    using = settings(tmp_path)
    (_, held) = run(using, append(marked(1), marked(2)))

    async def work(log: Opened) -> None:
        repository = log.repository
        await holds.place(repository, f"patient=Patient/w-pat-xenomark&{results}", "court order")
        with pytest.raises(ParameterError, match="hold"):
            await erasing.redact(repository, [held.id], ORDER)

    run(using, work)


def test_retention_erases_what_is_due_and_not_held(tmp_path: Path) -> None:
    using = settings(tmp_path)
    bodies = [marked(n, f"20{10 + n}-01-01T00:00:00Z") for n in range(10)]
    run(using, append(*bodies))

    async def work(log: Opened) -> None:
        repository = log.repository
        hold = await holds.place(repository, "patient=Patient/j-pat-xenomark", "court order")
        asked = {"before": "2015-01-01T00:00:00Z", "order": ORDER}
        counted = await erasing.retain(repository, only_count=True, **asked)
        assert counted == (5, 1, 0)
        assert await erasing.retain(repository, **asked) == (5, 1, 4)
        # Again: only the held one is due; once the hold is lifted it goes, too.
        assert await erasing.retain(repository, **asked) == (1, 1, 0)
        assert [one.number for one in await holds.in_force(repository)] == [hold.number]
        await holds.lift(repository, hold.number, "the case is closed")
        assert await holds.in_force(repository) == []
        assert await erasing.retain(repository, **asked) == (1, 0, 1)
        assert await count(repository, "date", "lt2015-01-01") == 0
        assert await count(repository, "type", "110110") == 5

    run(using, work)
    report = verify(using.folder)
    assert report.whole, report.findings
    assert report.erased == 5


def test_a_run_that_was_cut_off_can_be_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    using = settings(tmp_path)
    run(using, append(*(marked(n) for n in range(7))))
    monkeypatch.setattr(erasing, "ERASED_AT_ONCE_MAX", 2)

    class CutError(Exception):
        pass

    def progress(done: int, _: int) -> None:
        if done >= 4:
            raise CutError

    async def cut(log: Opened) -> None:
        with pytest.raises(CutError):
            await erasing.retain(
                log.repository,
                before="2020-01-01T00:00:00Z",
                order=ORDER,
                progress=progress,
            )

    async def again(log: Opened) -> None:
        done = await erasing.retain(log.repository, before="2020-01-01T00:00:00Z", order=ORDER)
        assert done == (3, 0, 3)

    run(using, cut)
    assert verify(using.folder).erased == 4
    run(using, again)
    report = verify(using.folder)
    assert report.whole, report.findings
    assert report.erased == 7


@pytest.mark.parametrize(
    ("query", "reason"), [("", "x"), ("patient=Patient/1", ""), ("nonsense=1", "x"), ("&&", "x")]
)
def test_a_hold_says_what_it_covers_and_why(query: str, reason: str, tmp_path: Path) -> None:
    async def work(log: Opened) -> None:
        with pytest.raises(ParameterError):
            await holds.place(log.repository, query, reason)
        with pytest.raises(NotFoundError):
            await holds.lift(log.repository, 1, "none")

    run(settings(tmp_path), work)
