"""Every byte of a small bundle, flipped one after the other: each is found."""

from __future__ import annotations

from typing import Final

import pytest

from caretrail.evidence import verify
from caretrail.tlog.evidence import Range, Redacted
from tests.evidence.maker import ERASED, ERASER, World, archive, sides_of
from tests.evidence.stamps import stamp


def _small() -> dict[str, bytes]:
    """Return the members of a bundle that has something of everything."""
    world, start, end = World(), 9, 38
    entries = range(start, end)
    shown = [n for n in entries if n % 4 == 2 and n not in ERASED]
    evidence = world.evidence(
        attachments={"README.txt": b"Read me.\n"},
        disclosed=[world.disclosed(n) for n in (*shown, ERASER)],
        entries=world.entries[start:end],
        proof=Range(start, end, *sides_of(start, end, world.leaves())),
        redacted=[Redacted(n, ERASER) for n in ERASED if n in entries],
        timestamps={"a.tsr": stamp(world.checkpoint())},
    )
    return world.members(evidence)


MEMBERS: Final = _small()
WHOLE: Final = archive(MEMBERS)


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]


def test_the_bundle_holds_before_a_byte_is_flipped() -> None:
    assert verify.Check(WHOLE).holds()
    assert all(MEMBERS.values())


@pytest.mark.parametrize("name", MEMBERS)
def test_a_flip_of_every_byte_of_a_file_is_found(name: str) -> None:
    """Packed anew, so that the archive's own checksum fits."""
    for at in range(len(MEMBERS[name])):
        changed = archive({**MEMBERS, name: _flipped(MEMBERS[name], at)})
        assert not verify.Check(changed).holds(), at


def test_a_flip_of_every_byte_of_the_archive_is_found_or_says_nothing() -> None:
    for at in range(len(WHOLE)):
        changed = _flipped(WHOLE, at)
        if verify.Check(changed).holds():
            # ZIP has attributes of files, which mean nothing here.
            assert verify.unpack(changed) == MEMBERS, at
