"""The attack drills: whatever is done to a signed log, `verify` finds it and names it right.

What a row of TAMPERINGS in tests/storage does to single tables is not repeated here: these are
attacks by people who know the software, have the key, or make everything anew consistently.
"""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

import msgspec
import pytest

from caretrail import opening
from caretrail.errors import ConfigurationError, ConflictError
from caretrail.publisher.checkpoint_store import CheckpointStore
from caretrail.search import counts
from caretrail.storage.report import State as Ran
from caretrail.storage.sqlite import SqliteStorage
from caretrail.tlog import tree as merkle
from caretrail.tlog.checkpoint import Checkpoint
from caretrail.tlog.cosignature import Cosigner, verifier
from caretrail.tlog.key_history import KeyHistory
from caretrail.tlog.keys import Ed25519PrivateKey
from caretrail.tlog.note import Note
from caretrail.tlog.tree import Tree
from caretrail.tlog.witness import Request, State, decide
from caretrail.verification import background
from caretrail.verification import folder as folder_report
from caretrail.verification.folder import Verdict, verify_folder
from tests.storage import world
from tests.verification import logs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from caretrail.storage.report import Finding
    from caretrail.tlog.note import Verifier

SIZE = 302  # The log's start, 300 events, and its stop.


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("original")
    logs.grow(home, 300)
    return home


@pytest.fixture
def home(original: Path, tmp_path: Path) -> Path:
    return logs.copied(original, tmp_path / "home")


def judged(home: Path) -> Verdict:
    return verify_folder(home / "log")


def found(home: Path) -> list[Finding]:
    return judged(home).findings()


def test_a_log_that_nobody_touched_is_whole_and_all_of_it_was_checked(home: Path) -> None:
    verdict = judged(home)
    assert verdict.findings() == []
    assert verdict.report.size == SIZE
    assert verdict.signed.size == SIZE
    assert verdict.signed.checked == ["signed checkpoints", "checkpoint store"]
    *_, last = folder_report.lines(verdict, listed=False)
    assert last == "not checked: witnesses (no --policy was given)"


def test_a_copy_without_the_store_says_what_could_not_be_checked(home: Path) -> None:
    (home / "log.checkpoint").unlink()
    verdict = judged(home)
    assert verdict.findings() == []
    assert any("rolled back" in what for what in verdict.signed.unchecked)


def cut_tail(home: Path) -> None:
    """Remove the last events, and make all that is derived of them anew, signature and all."""
    with logs.database(home) as db:
        rows = db.execute("SELECT entry, k FROM leaf WHERE entry >= 280").fetchall()
        for entry, k in rows:
            db.execute("DELETE FROM fingerprint WHERE entry = ?", (entry,))
            terms = _terms(home, entry)
            db.execute("INSERT INTO term(term, rowid, terms) VALUES ('delete', ?, ?)", (k, terms))
            hour = (k >> 20) // 3_600_000
            db.execute("UPDATE tally SET events = events - 1 WHERE hour = ?", (hour,))
            names = [(name, hour // 24) for name in counts.names(terms.split())]
            db.executemany(
                "UPDATE counter SET events = events - 1 WHERE name = ? AND day = ?", names
            )
        db.execute("DELETE FROM tally WHERE events = 0")
        db.execute("DELETE FROM counter WHERE events = 0")
        db.execute("DELETE FROM event WHERE entry >= 280")
        db.execute("DELETE FROM leaf WHERE entry >= 280")
        leaves = [leaf for (leaf,) in db.execute("SELECT hash FROM leaf ORDER BY entry")]
        tree, _ = merkle.append(Tree(), leaves)
        db.execute("UPDATE head SET size = ?, root = ?", (tree.size, tree.root()))
        db.execute("DELETE FROM checkpoint WHERE size > 280")
    logs.resign(home)


def _terms(home: Path, entry: int) -> str:
    from contextlib import closing

    from caretrail.search import index
    from caretrail.storage.bodies import Bodies
    from caretrail.storage.sqlite import folder as folders
    from caretrail.storage.sqlite.searching import Searcher

    with closing(folders.open_for_reading(home / "log")) as db:
        searcher = Searcher(db, Bodies(dict(db.execute("SELECT number, data FROM dictionary"))))
        (record,) = searcher.entries(entry, entry + 1)
        return " ".join(index.terms(record))


def resign_altered(home: Path) -> None:
    """Change one leaf and its event's salt, make tree and signature anew with the stolen key."""
    with logs.database(home) as db:
        db.execute("UPDATE event SET salt = zeroblob(32) WHERE entry = 5")
        data = _entry(home, 5)
        db.execute("UPDATE leaf SET hash = ? WHERE entry = 5", (merkle.leaf_hash(data),))
        leaves = [leaf for (leaf,) in db.execute("SELECT hash FROM leaf ORDER BY entry")]
        tree, nodes = merkle.append(Tree(), leaves)
        db.executemany(
            "UPDATE node SET hash = ?3 WHERE level = ?1 AND place = ?2",
            [tuple(node) for node in nodes],
        )
        db.execute("UPDATE head SET root = ?", (tree.root(),))
        db.execute("UPDATE checkpoint SET root = ?", (tree.root(),))
        db.execute("DELETE FROM checkpoint WHERE size <> ?", (tree.size,))
    logs.resign(home)


def _entry(home: Path, entry: int) -> bytes:
    storage = SqliteStorage(home / "log")
    try:
        return next(storage.proofs().sealed(entry, entry + 1)).data
    finally:
        asyncio.run(storage.close())


def made_anew(home: Path) -> None:
    """Throw the log away, and make another with the software, key and all."""
    shutil.rmtree(home / "log")
    (home / "log.checkpoint").rename(home / "kept")
    logs.grow(home, 10, seed=2)
    (home / "kept").replace(home / "log.checkpoint")


def cut_keys(home: Path) -> None:
    with logs.database(home) as db:
        db.execute("UPDATE property SET value = x'' WHERE name = 'keys'")


def foreign_key(home: Path) -> None:
    """Let a key that nobody announced sign from now on."""
    other = home.with_name("other")
    logs.grow(other, 1)
    stranger = logs.property_of(other, "keys").split(" ")[1]
    key = opening.VerifierKey.parse(stranger.strip())._replace(
        name=logs.property_of(home, "origin")
    )
    with logs.database(home) as db:
        added = f"{logs.property_of(home, 'keys')}300 {key.format()}\n"
        db.execute("UPDATE property SET value = ? WHERE name = 'keys'", (added.encode(),))


def renamed(home: Path) -> None:
    with logs.database(home) as db:
        db.execute("UPDATE property SET value = ? WHERE name = 'origin'", (b"caretrail/other",))


def flipped_note(home: Path) -> None:
    with logs.database(home) as db:
        (number, note) = db.execute("SELECT number, note FROM signed LIMIT 1").fetchone()
        changed = bytearray(note)
        changed[-20] ^= 1
        db.execute("UPDATE signed SET note = ? WHERE number = ?", (bytes(changed), number))


def two_of_one_size(home: Path) -> None:
    """Sign another history of the same size, and keep both inside."""
    other = Checkpoint(logs.property_of(home, "origin"), SIZE, bytes(32))
    note = logs.sign(home, other).format()
    with logs.database(home) as db:
        row = (SIZE, note)
        db.execute(
            "INSERT INTO signed(size, at, cosigned, stays, note) VALUES (?, 0, 0, 0, ?)", row
        )


def flipped_store(home: Path) -> None:
    path = home / "log.checkpoint"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def clock_back(home: Path) -> None:
    """Give an entry a time of receipt of a year before, as if it had been there all along."""
    with logs.database(home) as db:
        db.execute("UPDATE leaf SET received = received - 31536000000 WHERE entry = 290")


def erase_own(home: Path) -> None:
    """Make it look as if the log's own stop had been erased."""
    data = _entry(home, SIZE - 1)
    with logs.database(home) as db:
        db.execute("DELETE FROM event WHERE entry = ?", (SIZE - 1,))
        db.execute("UPDATE leaf SET k = NULL WHERE entry = ?", (SIZE - 1,))
        db.execute("INSERT INTO erased VALUES (?, ?, 0)", (SIZE - 1, data))


def swap_events(home: Path) -> None:
    """Swap two events with their leaves, as if one had come before the other."""
    with logs.database(home) as db:
        db.executescript(
            "UPDATE event SET entry = 1000 - entry WHERE entry IN (7, 8);"
            "UPDATE event SET entry = CASE entry WHEN 993 THEN 8 ELSE 7 END WHERE entry > 900;"
            "CREATE TEMP TABLE two AS SELECT 15 - entry AS entry, k, received, hash FROM leaf"
            " WHERE entry IN (7, 8);"
            "INSERT OR REPLACE INTO leaf SELECT * FROM two;"
        )


DRILLS: dict[str, tuple[Callable[[Path], None], str]] = {
    "the tail is cut off and everything made anew": (cut_tail, "302 entries were signed, and 280 are here: the log was rolled back"),
    "the tree is altered and signed with the stolen key": (resign_altered, "the first 302 entries are not those that were signed"),
    "the whole log is made anew": (made_anew, "the checkpoint store has no checkpoint of this log"),
    "the key history is removed": (cut_keys, "no key that could have signed it"),
    "a key signs that was not announced": (foreign_key, "the keys from size 300 on are not announced"),
    "the log gets another name": (renamed, "a name that no recovery of it has given"),
    "a byte of a signed checkpoint is flipped": (flipped_note, "a checkpoint that is kept:"),
    "two checkpoints of one size are signed": (two_of_one_size, "the first 302 entries are not those that were signed"),
    "a byte of the checkpoint store is flipped": (flipped_store, "the checkpoint store"),
    "a time of receipt is set back a year": (clock_back, "the time of receipt is not the event's"),
    "the log's own event is erased": (erase_own, "the log's own, and no such event can be erased"),
    "two events are swapped": (swap_events, "the tree up to here is not the one that was recorded"),
}  # fmt: skip


@pytest.mark.parametrize("name", DRILLS)
def test_verify_finds_and_names_it_when(name: str, home: Path) -> None:
    attack, said = DRILLS[name]
    attack(home)
    findings = found(home)
    assert any(said in one.what for one in findings), findings
    # The server beside its own work finds it as well.
    patient = background.check(home / "log", background.begun(home / "log"), rest=lambda _: None)
    assert any(said in one.what for one in patient.findings), patient.findings


def test_a_run_in_the_background_judges_what_was_signed_when_it_began(home: Path) -> None:
    """It is cut off, the log grows, its key is handed over, and the run goes on."""
    states: list[bytes] = []
    logs.grow(home, 2_100, seed=3)
    saved = background.begun(home / "log")

    def cut(state: Ran) -> None:
        states.append(msgspec.json.encode(state))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        background.check(home / "log", saved, rest=cut)
    asyncio.run(opening.rotate_key(logs.settings(home), home / "next.pem"))
    logs.grow(home, 20, seed=4)
    saved.state = msgspec.json.decode(states[0], type=Ran)
    assert 0 < saved.state.done < saved.state.size
    report = background.check(home / "log", saved, rest=lambda _: None)
    assert report.findings == []
    assert report.notes
    again = background.check(home / "log", background.begun(home / "log"), rest=lambda _: None)
    assert again.findings == []
    assert again.keys != report.keys


def test_yesterdays_backup_does_not_start_and_is_named(home: Path, tmp_path: Path) -> None:
    backup = shutil.copytree(home / "log", tmp_path / "backup")
    logs.grow(home, 20, seed=3)
    shutil.rmtree(home / "log")
    shutil.copytree(backup, home / "log")
    with pytest.raises(ConfigurationError, match="restored from an older copy"):
        logs.grow(home, 1, seed=4)
    assert any("rolled back" in one.what for one in found(home))


def test_a_backup_that_went_on_without_its_store_is_named(home: Path, tmp_path: Path) -> None:
    """Two histories with one key: each store knows of one of them."""
    fork = logs.copied(home, tmp_path / "fork")
    logs.grow(home, 20, seed=3)
    logs.grow(fork, 30, seed=4)
    shutil.copy(home / "log.checkpoint", fork / "log.checkpoint")
    assert any("the log ran twice" in one.what for one in found(fork))


def test_a_log_that_was_recovered_under_another_name_is_whole(home: Path, tmp_path: Path) -> None:
    backup = shutil.copytree(home / "log", tmp_path / "backup")
    logs.grow(home, 20, seed=3)
    shutil.rmtree(home / "log")
    shutil.copytree(backup, home / "log")
    asyncio.run(opening.recover(logs.settings(home)))
    verdict = judged(home)
    assert verdict.findings() == []
    with logs.database(home) as db:
        db.execute("UPDATE property SET value = ? WHERE name = 'origin'", (b"caretrail/other",))
    assert any("no recovery" in one.what for one in found(home))


def test_a_rotated_key_signs_no_larger_tree(home: Path, tmp_path: Path) -> None:
    stolen = logs.signers(home)
    asyncio.run(opening.rotate_key(logs.settings(home), tmp_path / "next.pem"))
    logs.grow(home, 5, seed=3)
    assert found(home) == []
    with logs.database(home) as db:
        size, root = db.execute("SELECT size, root FROM head").fetchone()
        checkpoint = Checkpoint(logs.property_of(home, "origin"), size, bytes(root))
        note = asyncio.run(opening.publishing.signing_key.sign(checkpoint, stolen)).format()
        row = (size, note)
        db.execute(
            "INSERT INTO signed(size, at, cosigned, stays, note) VALUES (?, 0, 0, 0, ?)", row
        )
    assert any("a checkpoint that is kept" in one.what for one in found(home))


def test_a_history_of_keys_that_was_set_back_is_named(home: Path, tmp_path: Path) -> None:
    before = logs.property_of(home, "keys")
    asyncio.run(opening.rotate_key(logs.settings(home), tmp_path / "next.pem"))
    with logs.database(home) as db:
        db.execute("UPDATE property SET value = ? WHERE name = 'keys'", (before.encode(),))
    findings = found(home)
    assert any("not in its key history" in one.what for one in findings), findings
    assert findings[0].entry == SIZE


def test_two_instances_on_one_store_of_checkpoints_do_not_both_sign(
    home: Path, tmp_path: Path
) -> None:
    fork = logs.copied(home, tmp_path / "fork")
    store = CheckpointStore(home / "log.checkpoint", data=home / "log")
    origin = logs.property_of(home, "origin")
    before = store.get(origin)
    logs.grow(home, 5, seed=3)
    checkpoint = Checkpoint(origin, SIZE + 7, bytes(32))
    with pytest.raises(ConflictError, match="running twice"):
        store.set(origin, expected=before, new=logs.sign(fork, checkpoint).format())


def test_an_event_of_the_logs_own_cannot_be_erased(home: Path) -> None:
    async def erase() -> None:
        storage = SqliteStorage(home / "log")
        try:
            with pytest.raises(ConflictError, match="never erased"):
                await storage.erase([0], cause=SIZE - 1)
        finally:
            await storage.close()

    asyncio.run(erase())


def test_a_clock_that_is_set_back_stands_still_in_the_log(home: Path) -> None:
    """After a restart, too: what was received later never looks older."""
    repository = world.opened(home / "log", clock=lambda: 1_000_000_000.0)

    async def append() -> int:
        sent = [world.submission(body) for body in world.bodies(1, seed=5)]
        (stored,) = await repository.append(sent, sender=world.SENDER, is_backfill=True)
        await repository.close()
        return stored.received

    with logs.database(home) as db:
        (last,) = db.execute("SELECT max(received) FROM leaf").fetchone()
    assert asyncio.run(append()) == last
    assert found(home) == []


def test_redacted_entries_are_told_from_missing_ones(tmp_path: Path) -> None:
    logs.grow(tmp_path, 30, erase=True)
    verdict = judged(tmp_path)
    assert verdict.findings() == []
    said = list(folder_report.lines(verdict, listed=False))
    assert said[0] == "entry 1: redacted by entry 31 under policy ten years"
    assert said[1].startswith("entry 2: redacted by entry 31")
    assert folder_report.machine(verdict)["redacted"] == [
        {"first": 1, "last": 2, "by": 31, "policy": "ten years"}
    ]


def test_a_flipped_byte_of_any_file_is_found_or_changes_no_answer(tmp_path: Path) -> None:
    home = tmp_path / "home"
    logs.grow(home, 40)
    for path in (home / "log" / "signing-key.pem", home / "log.checkpoint"):
        data = path.read_bytes()
        for at in range(0, len(data), 37):
            changed = bytearray(data)
            changed[at] ^= 0x11
            path.write_bytes(changed)
            if path.suffix == ".checkpoint":
                assert found(home), at
            else:  # The key is no evidence: what it has signed is.
                assert found(home) == []
        path.write_bytes(data)


def witnessed(home: Path) -> tuple[State, list[Verifier]]:
    """Return what a witness remembers that has cosigned the log as it is, and the log's keys."""
    with logs.database(home) as db:
        size, root = db.execute("SELECT size, root FROM head").fetchone()
    history = KeyHistory.parse(logs.property_of(home, "keys"))
    return State(size, bytes(root)), [verifier(key) for key in history.valid_keys(size)]


def asked(home: Path, old: int) -> Request:
    """Return the request that the log, as it is now, makes to its witness."""
    storage = SqliteStorage(home / "log")
    try:
        size = storage.found.size
        note = logs.sign(home, Checkpoint(storage.origin, size, storage.found.root()))
        proof = storage.proofs().prover.consistency(old=min(old, size), new=size)
    finally:
        asyncio.run(storage.close())
    return Request.make(note, old=min(old, size), proof=proof)


def test_a_witness_cosigns_a_log_that_goes_on(home: Path) -> None:
    state, keys = witnessed(home)
    logs.grow(home, 5, seed=3)
    assert decide(asked(home, state.size), state, keys).status == 200


def test_a_witness_refuses_an_altered_tree_that_the_stolen_key_has_signed(home: Path) -> None:
    state, keys = witnessed(home)
    resign_altered(home)
    assert decide(asked(home, state.size), state, keys).status == 422


def test_a_witness_does_not_go_back_with_a_stolen_key(home: Path) -> None:
    state, keys = witnessed(home)
    cut_tail(home)
    decision = decide(asked(home, state.size), state, keys)
    assert (decision.status, decision.size) == (409, state.size)


def cosigned(home: Path, tmp_path: Path) -> Path:
    """Keep a cosigned checkpoint in the log; return the policy that asks for the witness."""
    witness = Cosigner("w.test", Ed25519PrivateKey(b"w" * 32))
    with logs.database(home) as db:
        (data,) = db.execute("SELECT note FROM signed ORDER BY number DESC").fetchone()
        note = Note.parse(bytes(data))
        row = (SIZE, note.add([witness.cosign(note.text, time=1_780_000_000)]).format())
        db.execute(
            "INSERT INTO signed(size, at, cosigned, stays, note) VALUES (?, 0, 1, 0, ?)", row
        )
    vkey = logs.property_of(home, "keys").split()[1]
    policy = tmp_path / "policy"
    policy.write_text(f"log {vkey}\nwitness w {witness.key.format()}\nquorum w\n")
    return policy


def test_a_policy_is_met_by_the_cosignatures_that_are_kept(home: Path, tmp_path: Path) -> None:
    policy = cosigned(home, tmp_path)
    verdict = verify_folder(home / "log", policy=policy)
    assert verdict.findings() == []
    assert f"witnessed: the first {SIZE} entries, by w" in folder_report.lines(
        verdict, listed=False
    )
    assert folder_report.machine(verdict)["witnesses"] == [{"name": "w", "time": 1_780_000_000}]


def test_a_log_without_the_policys_quorum_does_not_hold(home: Path, tmp_path: Path) -> None:
    policy = cosigned(home, tmp_path)
    with logs.database(home) as db:
        db.execute("DELETE FROM signed WHERE cosigned")
    findings = verify_folder(home / "log", policy=policy).findings()
    assert ["too few witnesses" in one.what for one in findings] == [True]


def test_a_whole_log_made_anew_store_and_all_is_found_by_the_policy(
    home: Path, tmp_path: Path
) -> None:
    policy = cosigned(home, tmp_path)
    other = tmp_path / "other"
    logs.grow(other, 10, seed=2)
    assert found(other) == []
    assert verify_folder(other / "log", policy=policy).findings()


def test_many_redactions_are_counted_and_listed_when_asked_for(tmp_path: Path) -> None:
    logs.grow(tmp_path, 40, erase=True, erased=15)
    verdict = judged(tmp_path)
    assert verdict.findings() == []
    counted = next(iter(folder_report.lines(verdict, listed=False)))
    assert counted.startswith("15 entries: redacted by entry 41 under policy ten years")
    assert (
        len([one for one in folder_report.lines(verdict, listed=True) if "redacted" in one]) == 15
    )


def test_a_store_or_policy_that_was_named_has_to_be_there(home: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no checkpoint store"):
        verify_folder(home / "log", store=tmp_path / "absent")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        verify_folder(home / "log", policy=tmp_path / "absent")
