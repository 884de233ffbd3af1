"""verify.py says of every bundle what it is; the forgeries are all called by their names."""

from __future__ import annotations

import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caretrail.evidence import verify
from caretrail.tlog.evidence import LogKey, Range
from tests.evidence.attacks import ATTACKS, Attack
from tests.evidence.maker import END, START_SECONDS, World, path_of, root_of, sides_of
from tests.evidence.stamps import stamp

if TYPE_CHECKING:
    from collections.abc import Callable


def _kept(world: World, **other: Any) -> bytes:
    return world.resigned(world.members(world.evidence(**other)))


def _rotated(world: World) -> Attack:
    keys = [LogKey(world.old_key.vkey(), 0), LogKey(world.key.vkey(), 45)]
    # Where one key takes over from another, both may sign.
    checkpoint = world.checkpoint(signers=[world.key, world.old_key, *world.witnesses])
    bundle = _kept(world, keys=keys, checkpoint=checkpoint)
    return Attack(bundle, world.policy(keys=[world.key, world.old_key]))


def _stamped(world: World) -> bytes:
    checkpoint = world.checkpoint()
    text = checkpoint.partition(b"\n\n")[0] + b"\n"
    stamps = {"whole.tsr": stamp(checkpoint), "text.tsr": stamp(text, time="20261124060501.5Z")}
    return _kept(world, timestamps=stamps)


def _clock(world: World, seconds: int, index: int = 14) -> bytes:
    received = (START_SECONDS + seconds) * 1000
    world.entries[index] = world.entry(index, world.contents[index], received=received).encode()
    return _kept(world)


def _nested(world: World) -> Attack:
    w = [one.vkey() for one in world.witnesses]
    lines = [
        f"\tlog  {world.key.vkey()} https://audit.example/ ",
        f"witness a {w[0]}",
        f"witness b {w[1]}",
        "group ab all a b",
        f"witness c {w[2]}",
        "  # Nobody needs c.",
        "",
        "group g any ab c",
        "quorum g",
    ]
    return Attack(_kept(world), "\n".join(lines).encode())


def _whole(world: World) -> bytes:
    world.entries, size = world.entries[:32], 32
    shown = [world.disclosed(index) for index in range(size)]
    return _kept(world, size=size, proof=Range(0, size, [], []), entries=world.entries,
                 disclosed=shown, redacted=[], checkpoint=world.checkpoint())  # fmt: skip


VERIFY: Final = Path(verify.__file__)
WHOLE: Final = _kept(World(), attachments={})
# Bundles where everything holds, from the plainest to the oddest.
GOOD: Final[dict[str, Callable[[World], Attack | bytes]]] = {
    "a range": _kept,
    "a range by the auditor's policy": lambda world: Attack(_kept(world), world.policy()),
    "a range without witnesses": lambda world: Attack(_kept(world), world.policy("none")),
    "the whole log": _whole,
    "single proofs": lambda world: world.resigned(world.members(world.singles([3, 7, 44]))),
    "one entry": lambda world: world.resigned(world.members(world.singles([44]))),
    "a log whose key was rotated": _rotated,
    "time stamps": _stamped,
    "a clock that was set back": lambda world: _clock(world, -365 * 86_400),
    "a clock that is ahead of the witnesses": lambda world: _clock(world, 86_400, END - 1),
    "groups of groups": _nested,
}


def codes(said: dict[str, Any]) -> set[str]:
    """Return all that does not hold."""
    verdicts = {one["verdict"] for one in said["verdicts"]} - {"ok", "redacted"}
    return {one["code"] for one in said["findings"]} | verdicts


def check(made: Attack | bytes) -> verify.Check:
    """Check a bundle by the policy that comes with it, if one does."""
    return verify.Check(*(made if isinstance(made, Attack) else Attack(made)))


@pytest.mark.parametrize("name", GOOD)
def test_a_good_bundle_holds(name: str) -> None:
    checked = check(GOOD[name](World()))
    assert checked.holds(), checked.findings


@pytest.mark.parametrize("name", ATTACKS)
def test_a_forgery_is_found_and_named(name: str) -> None:
    forger, expected = ATTACKS[name]
    checked = check(forger(World()))
    said = verify.machine(checked)
    assert codes(said) == expected, said["findings"]
    assert not checked.holds()
    assert not said["holds"]


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run verify.py as an auditor would: from any folder, with nothing of ours to import."""
    command = [sys.executable, "-I", "-W", "error", VERIFY, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_command_says_what_is_proved_and_what_is_not(tmp_path: Path) -> None:
    world = World()
    bundle, policy = tmp_path / "bundle.zip", tmp_path / "policy"
    bundle.write_bytes(_stamped(world))
    policy.write_bytes(world.policy())
    done = run(bundle)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("EVERYTHING HOLDS.\n")
    for said in (
        f"signed    {world.key.vkey()}",
        "asked     query: patient=Patient/p2",
        "covered   37 entries, 3 to 39",
        "4  erased, as a later entry of the log says",
        "9  are about patient Patient/p2",
        "cosigned  witness1.example, 2026-11-24 06:10:20 UTC",
        "all of it was in the log by 2026-11-24 06:09:20 UTC",
        "stamped   20261124060501.5Z, timestamps/text.tsr",
        "the keys come from the bundle",
        "timestamps/text.tsr, by whom is NOT CHECKED",
        "who made the time stamps",
    ):
        assert said in done.stdout
    assert len(done.stdout.splitlines()) < 60
    trusted = run(bundle, "--policy", policy)
    assert trusted.returncode == 0
    assert "the keys come from the bundle" not in trusted.stdout


def test_the_command_fails_loudly(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.zip"
    forger, _ = ATTACKS["a byte of a content"]
    made = forger(World())
    assert isinstance(made, bytes)
    bundle.write_bytes(made)
    done = run(bundle)
    assert done.returncode == 1
    assert done.stdout.startswith("DOES NOT HOLD.")
    assert "CONTENT ALTERED" in done.stdout
    said = json.loads(run(bundle, "--json").stdout)
    assert not said["holds"]
    assert codes(said) == {"altered-file", "content-altered"}
    assert run(tmp_path / "none.zip").returncode == 2
    bundle.write_bytes(b"")
    done = run(bundle)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_page_stays_a_page_whatever_is_wrong() -> None:
    world = World()
    members = world.members() | {f"{n}": b"" for n in range(500)}
    lines = list(verify.page(verify.Check(world.resigned(members))))
    assert "  ! and 480 more; see --json" in lines
    assert len(lines) < 60


def test_a_bundle_cannot_command_the_terminal() -> None:
    world = World()
    bundle = _kept(world, selection={"query": "\x1b[2J\u202eevil"})
    shown = [verify.printable(line) for line in verify.page(verify.Check(bundle))]
    assert "  asked     query: ?[2J?evil" in shown


def test_a_witness_may_sign_with_ml_dsa() -> None:
    world = World()
    policy = f"log {world.key.vkey()}\nwitness q {world.quantum.vkey()}\nquorum q\n".encode()
    checkpoint = world.checkpoint(signers=[world.key, world.quantum])
    checked = verify.Check(_kept(world, checkpoint=checkpoint), policy)
    assert checked.holds(), checked.findings
    forged = world.checkpoint(signers=[world.key])
    forged += world.quantum.spelled(bytes(2428)).encode()
    said = verify.machine(verify.Check(_kept(world, checkpoint=forged), policy))
    assert codes(said) == {"bad-signature", "no-quorum"}


def test_without_ml_dsa_its_signatures_count_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    monkeypatch.setattr(verify, "MLDSA44PublicKey", None)
    policy = f"log {world.key.vkey()}\nwitness q {world.quantum.vkey()}\nquorum q\n".encode()
    checkpoint = world.checkpoint(signers=[world.key, world.quantum])
    said = verify.machine(verify.Check(_kept(world, checkpoint=checkpoint), policy))
    assert codes(said) == {"no-quorum"}
    assert [one["code"] for one in said["remarks"]] == ["ml-dsa-unchecked"]


@pytest.mark.parametrize(("name", "code"), [
    ("a clock that was set back", "clock-back"),
    ("a clock that is ahead of the witnesses", "clock-ahead"),
])  # fmt: skip
def test_times_that_cannot_be_are_remarked(name: str, code: str) -> None:
    checked = check(GOOD[name](World()))
    assert [one.code for one in checked.remarks] == [code]


@given(st.integers(0, len(WHOLE) * 8 - 1))
def test_a_flipped_bit_is_found_unless_it_says_nothing(place: int) -> None:
    flipped = bytearray(WHOLE)
    flipped[place // 8] ^= 1 << place % 8
    if verify.Check(bytes(flipped)).holds():
        # ZIP has attributes of files, which mean nothing here.
        assert verify.unpack(bytes(flipped)) == verify.unpack(WHOLE)


@given(st.integers(1, 300), st.data())
def test_every_range_of_every_tree_leads_to_its_root(size: int, data: st.DataObject) -> None:
    leaves = [sha256(b"%d" % n).digest() for n in range(size)]
    start = data.draw(st.integers(0, size - 1))
    end = data.draw(st.integers(start + 1, size))
    root = root_of(leaves)
    left, right = sides_of(start, end, leaves)
    assert verify.root_from_range(leaves[start:end], start, size, left, right) == root
    assert verify.root_from_path(leaves[start], start, size, path_of(start, leaves)) == root
    for path in ([*path_of(start, leaves), root], path_of(start, leaves)[1:]):
        if size > 1:
            assert verify.root_from_path(leaves[start], start, size, path) != root
