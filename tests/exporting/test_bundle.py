"""Evidence bundles of a real log: they hold, and what is left out or changed is found."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.x509 import load_pem_x509_certificates
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from caretrail import opening
from caretrail.errors import (
    ConfigurationError,
    ConflictError,
    ParameterError,
    TooLargeError,
    UnprocessableError,
)
from caretrail.evidence import verify
from caretrail.exporting.bundle import policy_of
from caretrail.exporting.gathering import Gathered
from caretrail.exporting.selection import Filter, Selection
from caretrail.limits import EXPORT_PROOFS_MAX
from caretrail.publisher.anchors import TimeStamp, WriteOnceFolder
from caretrail.settings import Settings
from caretrail.storage.contract import Sealed
from caretrail.tlog.note import Note
from caretrail.tlog.policy import Policy
from tests.evidence.maker import World, archive, canonical
from tests.evidence.stamps import stamp
from tests.exporting.world import (
    BASE,
    checked,
    cut,
    disclosed,
    erase,
    exports,
    fill,
    found,
    members,
    rows,
    search,
    within,
)
from tests.publisher.answering import NEVER, answering, http
from tests.publisher.authority import Authority, needs_openssl

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from caretrail.opening import Opened

P1 = Selection.of(subjects=["Patient/p1"])


async def resigned(log: Opened, changed: dict[str, bytes]) -> bytes:
    """Return an archive with a manifest that fits, signed by the log: a forger with its key."""
    manifest = json.loads(changed["manifest.json"])
    others = changed.keys() - {"manifest.json", "manifest.note"}
    manifest["files"] = {name: sha256(changed[name]).hexdigest() for name in others}
    text = canonical(manifest)
    digest = verify.base64.b64encode(sha256(text).digest()).decode()
    note = await log.publisher.sign_text(f"caretrail/evidence/v1\n{digest}\n")
    return archive({**changed, "manifest.json": text, "manifest.note": note.format()})


def without(data: bytes, entry: int) -> bytes:
    lines = data.splitlines(keepends=True)
    return b"".join(line for line in lines if json.loads(line)["index"] != entry)


def test_a_report_about_a_patient_is_complete(tmp_path: Path) -> None:
    async def do(log: Opened) -> tuple[bytes, list[int]]:
        return await cut(log, P1, tmp_path), await found(log, "patient=Patient/p1")

    made, wanted = within(tmp_path, do)
    check = checked(made)
    assert check.holds(), [vars(one) for one in check.findings]
    assert disclosed(made) == wanted
    assert len(wanted) == 9
    facts = verify.machine(check)
    assert (facts["start"], facts["end"]) == (0, facts["size"])
    assert {row["subject"]: row["entries"] for row in facts["subjects"]} == {
        "agent\nPatient/p1": 0,
        "patient\nPatient/p1": 9,
    }


def test_the_command_of_the_verifier_says_the_same(tmp_path: Path) -> None:
    made = within(tmp_path, lambda log: cut(log, P1, tmp_path))
    for name in ("good", "bad"):
        file = tmp_path / f"{name}.zip"
        parts = members(made)
        parts["salts.ndjson"] = parts["salts.ndjson"][: None if name == "good" else -1]
        file.write_bytes(archive(parts))
        command = [sys.executable, verify.__file__, str(file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == (0 if name == "good" else 1)
        assert done.stdout.startswith("EVERYTHING HOLDS" if name == "good" else "DOES NOT HOLD")


def test_one_event_left_out_of_a_report_is_found(tmp_path: Path) -> None:
    async def do(log: Opened) -> list[dict[int, str]]:
        made = members(await cut(log, P1, tmp_path))
        verdicts = []
        for entry in disclosed(archive(made)):
            left = {name: without(made[name], entry) for name in ("events.ndjson", "salts.ndjson")}
            check = checked(await resigned(log, {**made, **left}))
            assert not check.holds()
            verdicts.append({n: one for n, one in check.verdicts.items() if one == "kept-back"})
        return verdicts

    kept_back = within(tmp_path, do)
    assert [len(one) for one in kept_back] == [1] * 9
    assert len({entry for one in kept_back for entry in one}) == 9


def test_a_changed_event_is_found_with_and_without_the_logs_key(tmp_path: Path) -> None:
    async def do(log: Opened) -> tuple[verify.Check, verify.Check]:
        made = members(await cut(log, search("patient=Patient/p1"), tmp_path))
        made["events.ndjson"] = made["events.ndjson"].replace(b"dr-1", b"dr-2", 1)
        return checked(archive(made)), checked(await resigned(log, made))

    outsider, insider = within(tmp_path, do)
    assert {one.code for one in outsider.findings} == {"altered-file"}
    assert "content-altered" in insider.verdicts.values()
    assert not insider.holds()


def test_a_search_that_finds_few_is_proved_one_by_one(tmp_path: Path) -> None:
    async def do(log: Opened) -> tuple[bytes, list[int]]:
        text = "patient=Patient/p1&agent=Practitioner/dr-1"
        return await cut(log, search(text), tmp_path), await found(log, text)

    made, wanted = within(tmp_path, do)
    assert checked(made).holds()
    assert disclosed(made) == wanted == json.loads(members(made)["indexes.json"])
    assert not rows(made, "subjects.ndjson")


def test_a_search_that_finds_many_is_proved_as_a_range(tmp_path: Path) -> None:
    async def do(log: Opened) -> bytes:
        return await cut(log, search("agent=Practitioner/dr-1,Practitioner/dr-2"), tmp_path)

    made = within(tmp_path, do, count=1600)
    check = checked(made)
    assert check.holds()
    shown = disclosed(made)
    assert len(shown) == 1066 > EXPORT_PROOFS_MAX
    manifest = json.loads(members(made)["manifest.json"])
    assert (manifest["start"], manifest["end"]) == (shown[0], shown[-1] + 1)
    assert set(check.verdicts.values()) == {"ok", "not-disclosed"}
    assert not [name for name in members(made) if name.endswith(".tlog-proof")]


def test_what_a_search_finds_is_what_is_disclosed(tmp_path: Path) -> None:
    """Several searches at once disclose the events that fit one of them, and no other."""
    one = st.sampled_from(
        [*(f"patient=Patient/p{n}" for n in range(8)), "action=R", "action=D",
         *(f"agent=Practitioner/dr-{n}" for n in range(3)), "sequence=ge20&sequence=lt30",
         "date=ge2026-03-04T05:00:50Z", "patient=Patient/p2&action:not=D",
         "entity:missing=true", "_content=dr"]
    )  # fmt: skip

    async def do(log: Opened) -> None:
        loop = verify_loop(log, tmp_path)
        for texts in cases:
            await loop(texts)

    cases: list[list[str]] = []

    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(one, min_size=1, max_size=3))
    def collect(texts: list[str]) -> None:
        cases.append(texts)

    collect()
    within(tmp_path, do)


def verify_loop(log: Opened, folder: Path) -> Any:
    async def compare(texts: list[str]) -> None:
        wanted = sorted({entry for text in texts for entry in await found(log, text)})
        if not wanted:
            with pytest.raises(UnprocessableError):
                await cut(log, search(*texts), folder)
            return
        made = await cut(log, search(*texts), folder)
        assert disclosed(made) == wanted
        assert checked(made).holds()

    return compare


def test_a_range_is_disclosed_whole(tmp_path: Path) -> None:
    made = within(tmp_path, lambda log: cut(log, Selection.of(start=5, end=25), tmp_path))
    assert checked(made).holds()
    assert disclosed(made) == list(range(5, 25))


def test_a_range_without_an_end_has_the_event_that_tells_of_it(tmp_path: Path) -> None:
    async def do(log: Opened) -> bytes:
        return await cut(log, Selection.of(start=50), tmp_path)

    made = within(tmp_path, do)
    assert checked(made).holds()
    assert '"valueString":"AuditEvent?sequence=ge50"' in rows(made, "events.ndjson")[-1]["content"]


@pytest.mark.parametrize("selection", [P1, Selection.of(start=0)], ids=["subject", "range"])
def test_erased_events_are_shown_as_erased(tmp_path: Path, selection: Selection) -> None:
    async def do(log: Opened) -> tuple[bytes, list[int], int]:
        about = await found(log, "patient=Patient/p1")
        gone = [about[0], about[3]]
        return await cut_after(log, gone, selection, tmp_path), gone, log.repository.size

    made, gone, _ = within(tmp_path, do)
    check = checked(made)
    assert check.holds(), [vars(one) for one in check.findings]
    assert [row["index"] for row in rows(made, "redactions.ndjson")] == gone
    assert {check.verdicts[entry] for entry in gone} == {"redacted"}
    (by,) = {row["by"] for row in rows(made, "redactions.ndjson")}
    assert check.verdicts[by] == "ok"
    assert by in disclosed(made)


async def cut_after(log: Opened, gone: list[int], selection: Selection, folder: Path) -> bytes:
    await erase(log, gone)
    return await cut(log, selection, folder)


def test_a_redaction_that_the_range_does_not_reach_is_only_told_of(tmp_path: Path) -> None:
    async def do(log: Opened) -> bytes:
        await erase(log, [7, 8])
        about = Selection.of(subjects=["Practitioner/dr-0"], start=0, end=20)
        with pytest.raises(ConflictError, match="end later"):
            await cut(log, about, tmp_path)
        return await cut(log, Selection.of(start=5, end=20), tmp_path)

    made = within(tmp_path, do)
    check = checked(made)
    assert check.holds()
    assert check.verdicts[8] == "not-disclosed"
    assert json.loads(members(made)["manifest.json"])["selection"]["erased-later"].startswith("2 ")


def test_each_bundle_tells_of_its_export_and_is_covered_by_it(tmp_path: Path) -> None:
    async def do(log: Opened) -> tuple[list[dict[str, Any]], bytes]:
        await cut(log, P1, tmp_path)
        with pytest.raises(UnprocessableError):
            await cut(log, search("patient=Patient/nobody"), tmp_path)
        with pytest.raises(ParameterError):
            await cut(log, Selection.of(start=10_000), tmp_path)
        made = await cut(log, search("patient=Patient/p2"), tmp_path)
        return await exports(log), made

    told, made = within(tmp_path, do)
    assert [row["events"] for row in told] == ["9", "0", "0", "9"]
    assert [row["query"] for row in told] == [
        "AuditEvent?_subject=Patient/p1",
        "AuditEvent?patient=Patient/nobody",
        "AuditEvent?sequence=ge10000",
        "AuditEvent?patient=Patient/p2",
    ]
    assert {row["requester"] for row in told} == {"officer"}
    selection = json.loads(members(made)["manifest.json"])["selection"]
    assert selection["asked-by"] == "officer"
    assert selection["query"] == "AuditEvent?patient=Patient/p2"


def test_the_policy_of_a_bundle_is_enough_to_check_another(tmp_path: Path) -> None:
    async def do(log: Opened) -> list[bytes]:
        return [await cut(log, P1, tmp_path) for _ in range(2)]

    first, second = within(tmp_path, do)
    other = within(tmp_path / "other", lambda log: cut(log, P1, tmp_path))
    policy = members(first)["policy"]
    assert b"\nquorum none\n" in policy
    assert checked(second, policy).holds()
    assert "unknown-key" in {one.code for one in checked(other, policy).findings}


def test_the_keys_of_a_rotated_log_are_all_there(tmp_path: Path) -> None:
    made = within(tmp_path, lambda log: cut(log, P1, tmp_path), sign_ml_dsa=True)
    keys = json.loads(members(made)["keys.json"])
    assert [row["from"] for row in keys] == [0, 0]
    assert checked(made).holds()
    assert len(verify.machine(checked(made))["log_keys"]) == 2


def test_a_policy_has_the_witnesses_and_their_quorum() -> None:
    world = World()
    text = world.policy().replace(b"# Trusted.\n", b"")
    policy = Policy.parse(text)
    assert policy_of([one.key for one in policy.logs], policy) == text
    assert policy_of([], None) == b"quorum none\n"


def test_a_policy_that_a_bundle_cannot_carry_is_told_of() -> None:
    text = World().policy().replace(b"w0", b"\xff")
    with pytest.raises(ConfigurationError, match="UTF-8"):
        policy_of([], Policy.parse(text))


def test_too_much_is_refused_before_it_fills_the_memory() -> None:
    gathered = Gathered(None)

    class Huge(bytes):
        """An entry that says it is large."""

        def __len__(self) -> int:
            return 200 * 1024 * 1024

    row = (Sealed(0, Huge(), None, None, None), False)
    gathered.take([row])
    with pytest.raises(TooLargeError, match="cover less"):
        gathered.take([row])


@pytest.mark.parametrize(
    "wrong",
    [
        {"subjects": ["p1"]},
        {"subjects": ["|"]},
        {"subjects": ["Patient/p1 "]},
        {"subjects": ["Patient/p1\n"]},
        {"subjects": [f"Patient/{n}" for n in range(21)]},
        {"start": 5, "end": 5},
        {"start": -1},
    ],
    ids=str,
)
def test_a_selection_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ParameterError):
        Selection.of(**wrong)


@pytest.mark.parametrize(
    "text", ["", "_count=5", "_sort=date", "nothing=1", "patient=", "Patient?name=x", "a=%ff"]
)
def test_a_search_that_could_mean_more_than_it_says_is_refused(text: str) -> None:
    with pytest.raises(ParameterError):
        Filter.parse(text, base=BASE, now=0)


def test_a_search_stands_alone() -> None:
    one = Filter.parse("action=R", base=BASE, now=0)
    for other in ({"subjects": ["Patient/1"]}, {"start": 1}, {"end": 4}):
        with pytest.raises(ParameterError):
            Selection.of(filters=[one], **other)  # type: ignore[arg-type]


def test_a_subject_may_be_an_identifier_or_an_address(tmp_path: Path) -> None:
    texts = ["urn:oid:1.2|77", "http://ehr.example/fhir/Patient/p1", "urn:uuid:x", "|5"]
    made = within(tmp_path, lambda log: cut(log, Selection.of(subjects=texts), tmp_path))
    assert checked(made).holds()
    names = {row["subject"] for row in rows(made, "subjects.ndjson")}
    assert {"patient\nPatient/p1", "agent\nurn:oid:1.2|77", "agent\n|5"} <= names
    assert len(disclosed(made)) == 9


def stamped_by(
    answer: Callable[[bytes], bytes], authority: Authority, folder: Path
) -> tuple[bytes, Note]:
    """Return the bundle of a log that asks this authority, and the checkpoint in it."""
    (folder / "tsa.pem").write_bytes(authority.root + authority.own)

    async def run() -> bytes:
        async with answering(answer) as url:
            settings = Settings(
                data=folder / "data",
                timestamp_url=url,
                timestamp_certificates=folder / "tsa.pem",
                worm_folder=folder / "worm",
            )
            async with opening.opened(settings) as log:
                await fill(log, 20)
                return await cut(log, P1, folder)

    made = asyncio.run(run())
    return made, Note.parse(members(made)["checkpoint"])


@needs_openssl
def test_an_export_is_time_stamped_at_once(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tsa")
    made, note = stamped_by(
        lambda query: http(200, authority.reply(query), media="application/timestamp-reply"),
        authority,
        tmp_path,
    )
    check = verify.Check(made, tsa=load_pem_x509_certificates(authority.own))
    assert check.holds(), [vars(one) for one in check.findings]
    (found,) = verify.machine(check)["timestamps"]
    assert found["by"] == "CN=authority"
    assert "time-stamp" not in verify.machine(check)["selection"]
    kept = WriteOnceFolder(tmp_path / "worm").stamp_of(note)
    assert kept == members(made)[found["file"]]


@needs_openssl
@pytest.mark.parametrize("answer", [http(500), NEVER], ids=["an error", "no answer"])
def test_an_export_without_a_time_stamp_says_so(
    tmp_path: Path, answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("caretrail.exporting.bundle.EXPORT_STAMP_SECONDS_MAX", 0.2)
    made, _ = stamped_by(lambda _: answer, Authority(tmp_path / "tsa"), tmp_path)
    facts = verify.machine(checked(made))
    assert facts["holds"]
    assert facts["timestamps"] == []
    assert facts["selection"]["time-stamp"].startswith("none: ")


def test_a_time_stamp_is_taken_only_with_its_own_checkpoint(tmp_path: Path) -> None:
    async def do(log: Opened) -> tuple[Note, Note]:
        first = log.publisher.public()
        await cut(log, P1, tmp_path)
        second = log.publisher.public()
        assert first is not None
        assert second is not None
        return first, second

    first, second = within(tmp_path, do)
    folder = WriteOnceFolder(tmp_path / "worm")
    folder.keep(first, TimeStamp(stamp(first.format()), None))  # type: ignore[arg-type]
    assert folder.stamp_of(first) == stamp(first.format())
    assert folder.stamp_of(second) is None
    folder.keep(second)
    assert folder.stamp_of(second) is None
    assert folder.stamp_of(Note(first.text, second.signatures)) is None
