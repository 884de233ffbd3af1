"""verify.py says of every bundle what it is; the forgeries are all called by their names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from caretrail.evidence import verify
from caretrail.tlog.evidence import LogKey
from tests.evidence.attacks import ATTACKS, Attack
from tests.evidence.maker import END, ERASED, ERASER, START, START_SECONDS, World, sides_of
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
    from caretrail.tlog.evidence import Range

    return _kept(world, size=size, proof=Range(0, size, [], []), entries=world.entries,
                 disclosed=shown, redacted=[], checkpoint=world.checkpoint())  # fmt: skip


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
