"""The history of a log's keys: a key counts for the sizes that were its own, and no others."""

from __future__ import annotations

import pytest

from caretrail.errors import VerificationError
from caretrail.limits import KEY_HISTORY_PERIODS_MAX
from caretrail.tlog.checkpoint import Checkpoint, sign
from caretrail.tlog.cosignature import Cosigner
from caretrail.tlog.key_history import KeyHistory, Period
from caretrail.tlog.keys import Ed25519PrivateKey, MLDSA44PrivateKey
from caretrail.tlog.note import Note, NoteSigner, VerifierKey

ORIGIN = "example.org/log"
LOGS = [NoteSigner(ORIGIN, Ed25519PrivateKey(bytes([n]) * 32)) for n in range(1, 5)]
SECOND = Cosigner(ORIGIN, MLDSA44PrivateKey(b"s" * 32))
FIRST, *LATER = (one.key for one in LOGS)
HISTORY = (
    KeyHistory.begin(FIRST)
    .rotate(since=100, keys=[LATER[0], SECOND.key])
    .rotate(since=250, keys=[LATER[1]])
)
TEXT = HISTORY.format()


def test_a_key_is_valid_for_its_own_sizes() -> None:
    for size, keys in (
        (0, (FIRST,)),
        (99, (FIRST,)),
        (100, (LATER[0], SECOND.key)),
        (249, (LATER[0], SECOND.key)),
        (250, (LATER[1],)),
        (2**63, (LATER[1],)),
    ):
        assert HISTORY.valid_keys(size) == keys
    assert HISTORY.origin == ORIGIN


def test_a_checkpoint_counts_only_with_the_key_of_its_size() -> None:
    for size, valid in ((99, 0), (100, 1), (249, 1), (250, 2), (1_000, 2)):
        for at, log in enumerate(LOGS):
            note = sign(Checkpoint(ORIGIN, size, b"r" * 32), [log])
            if at == valid:
                assert HISTORY.open(note).checkpoint.size == size
                HISTORY.require_valid([log.key], size=size)
                continue
            with pytest.raises(VerificationError):
                HISTORY.open(note)
            with pytest.raises(VerificationError, match="at that size"):
                HISTORY.require_valid([log.key], size=size)


def test_an_old_key_beside_the_valid_one_does_no_harm() -> None:
    """A log may sign twice while verifiers learn of the new key."""
    note = sign(Checkpoint(ORIGIN, 100, b"r" * 32), LOGS[:2])
    assert len(HISTORY.open(note).verified) == 1
    HISTORY.require_valid([FIRST, LATER[0]], size=100)
    HISTORY.require_valid([SECOND.key], size=100)
    with pytest.raises(VerificationError):
        HISTORY.require_valid([], size=100)


def test_a_stolen_old_key_cannot_sign_a_new_tree_nor_a_new_one_the_past() -> None:
    stolen = sign(Checkpoint(ORIGIN, 300, b"forged" + b"r" * 26), [LOGS[0]])
    backdated = sign(Checkpoint(ORIGIN, 50, b"forged" + b"r" * 26), [LOGS[2]])
    for note in (stolen, backdated):
        with pytest.raises(VerificationError):
            HISTORY.open(Note.parse(note.format()))


def test_a_history_is_written_and_read() -> None:
    assert TEXT.splitlines() == [
        f"0 {FIRST.format()}",
        f"100 {LATER[0].format()}",
        f"100 {SECOND.key.format()}",
        f"250 {LATER[1].format()}",
    ]
    assert KeyHistory.parse(TEXT) == HISTORY


LINES = TEXT.splitlines(keepends=True)
OTHER = VerifierKey("example.org/other", 1, LATER[2].public)


@pytest.mark.parametrize(
    "text",
    [
        "", "\n", TEXT[:-1], TEXT + "\n", "\n" + TEXT, LINES[1], "".join(LINES[::-1]),
        LINES[0] + LINES[3] + LINES[1], LINES[0] + LINES[1] + LINES[3] + LINES[2], LINES[0] * 2,
        TEXT.replace("0 ", "00 ", 1), TEXT.replace(" ", "  ", 1), TEXT.replace(" ", "\t", 1),
        TEXT.replace("100 ", "+100 ", 1), TEXT.replace("\n", "\r\n"), TEXT.replace("=", "", 1),
        f"{LINES[0]}5 {FIRST.format()}\n", f"{LINES[0]}5 {OTHER.format()}\n",
        f"{LINES[0]}5 {VerifierKey(ORIGIN, 1, bytes(32)).format()}\n",
        f"{LINES[0]}5 {VerifierKey(ORIGIN, 2, LATER[2].public).format()}\n", f"0 {ORIGIN}\n",
        LINES[0] * (KEY_HISTORY_PERIODS_MAX + 1), "0\n", f"{LINES[0][:-1]} more\n",
    ],
)  # fmt: skip
def test_a_history_that_is_out_of_order_or_doubtful_is_refused(text: str) -> None:
    with pytest.raises(VerificationError):
        KeyHistory.parse(text)


def test_a_rotation_has_keys_and_goes_forward() -> None:
    for since, keys in ((250, [LATER[2]]), (200, [LATER[2]]), (300, []), (300, [FIRST])):
        with pytest.raises(VerificationError):
            HISTORY.rotate(since=since, keys=keys)
    with pytest.raises(VerificationError):
        KeyHistory.begin()
    with pytest.raises(VerificationError, match="begin at size 0"):
        KeyHistory((Period(1, (FIRST,)),)).check()
    with pytest.raises(VerificationError, match="begin at size 0"):
        KeyHistory(()).check()
