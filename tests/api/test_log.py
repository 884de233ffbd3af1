"""The log as outsiders read it: checkpoint, tiles, proofs, receipts; with the kernel's verifiers."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from caretrail.api import proof as proofs_of_events
from caretrail.tlog import tile
from caretrail.tlog.cosignature import Cosigner
from caretrail.tlog.entry import Entry, commitment
from caretrail.tlog.key_history import KeyHistory
from caretrail.tlog.keys import Ed25519PrivateKey
from caretrail.tlog.note import Note
from caretrail.tlog.policy import Policy
from caretrail.tlog.proof_file import ProofFile
from caretrail.tlog.prover import Prover
from caretrail.tlog.tile import Bundle, Tile
from caretrail.tlog.tree import leaf_hash
from tests.api.arr import Arr, Published, event, now, outcome

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from caretrail.tlog.checkpoint import Checkpoint

COUNT = 300


@pytest.fixture(scope="module")
def arr(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    made = Published(tmp_path_factory.mktemp("arr"))
    for start in range(0, COUNT, 100):
        entries = [{"resource": event(recorded=now(), id=f"e{start + n}")} for n in range(100)]
        answer = made.post("/fhir", {"resourceType": "Bundle", "type": "batch", "entry": entries})
        assert answer.status_code == 200
    yield made
    made.close()


def checkpoint(arr: Published) -> Checkpoint:
    """Return the log's checkpoint, once it covers what was posted, and see that it is signed."""
    assert arr.publisher is not None
    arr.runner.run(arr.publisher.covering(COUNT, cosigned=False, seconds=5))
    answer = arr.request("GET", "/log/checkpoint", token="")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    keys = KeyHistory.parse(arr.repository._storage.keys)
    return keys.open(Note.parse(answer.content)).checkpoint


class Served:
    """The tiles as they come over HTTP."""

    def __init__(self, arr: Published) -> None:
        self.arr = arr

    def hashes(self, asked: Tile) -> bytes:
        answer = self.arr.request("GET", f"/log/{asked.path()}", token="")
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        return answer.content


def test_the_tiles_make_the_root_of_the_checkpoint(arr: Published) -> None:
    signed = checkpoint(arr)
    assert signed.size > COUNT
    assert Prover(Served(arr)).root(signed.size) == signed.root


def test_the_entries_are_those_whose_hashes_are_in_the_tiles(arr: Published) -> None:
    signed = checkpoint(arr)
    found: list[bytes] = []
    for bundle in tile.bundles(signed.size):
        answer = arr.get(f"/log/{bundle.path()}")
        found += tile.decode_entries(answer.content, width=bundle.width)
    hashes = b"".join(Served(arr).hashes(one) for one in tile.tiles(signed.size) if one.tier == 0)
    assert b"".join(map(leaf_hash, found)) == hashes
    assert {Entry.decode(one).log for one in found} == {arr.repository._storage.identity.log}


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/000.p/0", "tile/0/001.p/256", "tile/0/999", "tile/0/x001/999", "tile/0/0",
        "tile/entries/000.p/", "tile/1/000.p/200", "tile/64/000", "tile/-1/000", "tile/0/000.p/1/2",
        "tile/entries/999", "tile/0/00a", "tile",
    ],
)  # fmt: skip
def test_what_the_signed_tree_does_not_have_is_not_there(path: str, arr: Published) -> None:
    checkpoint(arr)
    assert arr.get(f"/log/{path}").status_code == 404


@pytest.mark.parametrize(
    ("access", "statuses"),
    [("public", (200, 200, 200)), ("hashes", (200, 200, 401)), ("private", (401, 401, 401))],
)
def test_the_deployment_says_what_everybody_may_read(
    access: str, statuses: tuple[int, ...], tmp_path: Path
) -> None:
    arr = Published(tmp_path, log_access=access)
    try:
        paths = ("/log/checkpoint", f"/log/{Tile(0, 0, 1).path()}", f"/log/{Bundle(0, 1).path()}")
        found = tuple(arr.request("GET", path, token="").status_code for path in paths)
        assert found == statuses
        assert all(arr.get(path).status_code == 200 for path in paths)
    finally:
        arr.close()


def policy(arr: Published) -> Policy:
    key = KeyHistory.parse(arr.repository._storage.keys).periods[0].keys[0]
    return Policy.parse(f"log {key.format()}\nquorum none\n".encode())


def test_an_event_proves_that_it_is_in_the_log(arr: Published) -> None:
    checkpoint(arr)
    listed = arr.get("/fhir/AuditEvent?_count=3&_sort=-_lastUpdated").json()["entry"]
    for row in listed:
        event_id = row["resource"]["id"]
        answer = arr.get(f"/fhir/AuditEvent/{event_id}/$proof")
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        file = ProofFile.parse(answer.content)
        entry = Entry.decode(file.extra)
        assert entry.event.hex() == event_id.replace("-", "")
        assert file.verify(file.extra, policy(arr)).checkpoint.size > file.index
        # The content is bound, too: with the salt, which comes where FHIR is asked for.
        said = parameters(
            arr.get(f"/fhir/AuditEvent/{event_id}/$proof", accept="application/fhir+json")
        )
        original = arr.get(f"/fhir/AuditEvent/{event_id}/$original").content
        assert commitment(base64.b64decode(said["salt"]), original) == entry.commitment
        assert said["proof"].encode() == answer.content
        assert said["index"] == str(file.index)
    assert (
        outcome(arr.get("/fhir/AuditEvent/00000000-0000-7000-8000-000000000000/$proof"))["code"]
        == "not-found"
    )


def parameters(answer: Any) -> dict[str, Any]:
    body = answer.json()
    assert body["resourceType"] == "Parameters"
    return {
        row["name"]: next(value for name, value in row.items() if name.startswith("value"))
        for row in body["parameter"]
    }


def test_a_receipt_comes_with_the_answer(arr: Published) -> None:
    answer = arr.record(event(recorded=now(), id="receipt-1"), prefer="caretrail-receipt")
    assert answer.status_code == 201
    assert answer.headers["preference-applied"] == "caretrail-receipt"
    said = parameters(answer)
    entry = Entry.decode(base64.b64decode(said["entry"]))
    assert entry.event.hex() == answer.headers["location"].split("/")[-3].replace("-", "")
    assert said.keys() == {"origin", "index", "entry"}


def test_a_receipt_that_waits_has_its_proof(arr: Published) -> None:
    answer = arr.record(event(recorded=now(), id="receipt-2"), prefer="caretrail-receipt=wait")
    said = parameters(answer)
    file = ProofFile.parse(said["proof"].encode())
    assert str(file.index) == said["index"]
    accepted = file.verify(base64.b64decode(said["entry"]), policy(arr))
    assert accepted.checkpoint.origin == said["origin"]


def test_a_receipt_that_waits_too_long_comes_without_proof(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A policy with a witness that nobody answers for: no cosigned checkpoint will come."""
    monkeypatch.setattr(proofs_of_events, "RECEIPT_SECONDS_MAX", 0.2)
    arr = Published(tmp_path, witness_policy=_lonely_policy(tmp_path))
    try:
        said = parameters(arr.record(event(recorded=now()), prefer="caretrail-receipt=wait"))
        assert "proof" not in said
        ready = arr.request("GET", "/health/ready", token="").json()["checkpoints"]
        assert ready["unwitnessed"] > 0
        assert [one["name"] for one in ready["witnesses"]] == ["lonely"]
    finally:
        arr.close()


def _lonely_policy(folder: Path) -> Path:
    key = Cosigner("lonely.example", Ed25519PrivateKey(b"w" * 32)).key
    path = folder / "policy"
    path.write_text(f"witness lonely {key.format()} http://127.0.0.1:9/\nquorum lonely\n")
    return path


def test_a_log_without_a_publisher_has_nothing_signed(tmp_path: Path) -> None:
    arr = Arr(tmp_path)
    try:
        assert arr.get("/log/checkpoint").status_code == 404
        assert arr.get("/log/tile/0/000.p/1").status_code == 404
        stored = arr.record(event(recorded=now()), prefer="return=minimal")
        event_id = stored.headers["location"].split("/")[-3]
        assert arr.get(f"/fhir/AuditEvent/{event_id}/$proof").status_code == 503
    finally:
        arr.close()


def numbered(number: int) -> bytes:
    extension = [{"url": "urn:caretrail:source-sequence", "valueInteger": number}]
    return json.dumps(event(recorded=now(), extension=extension)).encode()


def test_numbers_that_never_came_are_told(tmp_path: Path) -> None:
    arr = Published(tmp_path)
    try:
        assert arr.get("/fhir/AuditEvent/$gaps").json() == {"resourceType": "Parameters"}
        for number in (5, 6, 9, 1, 12, 7):
            assert arr.record(numbered(number)).status_code == 201
        rows = arr.get("/fhir/AuditEvent/$gaps").json()["parameter"]
        found = [
            {p["name"]: next(v for k, v in p.items() if k != "name") for p in row["part"]}
            for row in rows
        ]
        assert [(one["first"], one["last"], one["missing"]) for one in found] == [
            ("2", "4", 3), ("8", "8", 1), ("10", "11", 2),
        ]  # fmt: skip
        for number in (8, 3, 2, 4, 10, 11):
            arr.record(numbered(number))
        assert arr.get("/fhir/AuditEvent/$gaps").json() == {"resourceType": "Parameters"}
    finally:
        arr.close()


def test_what_was_refused_can_be_looked_at(tmp_path: Path) -> None:
    arr = Published(tmp_path)
    try:
        assert arr.get("/fhir/AuditEvent/$quarantine").json() == {"resourceType": "Parameters"}
        bad = event(recorded="yesterday")
        entries = [{"resource": bad}, {"resource": event(recorded=now())}, {"resource": bad}]
        arr.post("/fhir", {"resourceType": "Bundle", "type": "batch", "entry": entries})
        first = arr.get("/fhir/AuditEvent/$quarantine?_count=1").json()["parameter"]
        (refused, following) = first
        parts = {part["name"]: part for part in refused["part"]}
        assert json.loads(base64.b64decode(parts["content"]["valueBase64Binary"])) == bad
        (issue,) = parts["reasons"]["resource"]["issue"]
        assert issue["expression"] == ["AuditEvent.recorded"]
        rest = arr.get(f"/fhir/AuditEvent/$quarantine?{following['valueString']}").json()
        assert len(rest["parameter"]) == 1
        assert arr.get("/fhir/AuditEvent/$quarantine?_after=x").status_code == 400
    finally:
        arr.close()
