"""The entry: one spelling, and commitments and tags that are what they are defined to be."""

from __future__ import annotations

import hmac
import struct
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caretrail.errors import VerificationError
from caretrail.tlog.entry import (
    CONTENT,
    NO_NUMBER,
    SALT_BYTES,
    TAG_BYTES,
    TAGS_MAX,
    VERSION,
    Entry,
    Kind,
    Mac,
    commitment,
    subject_key,
    tag,
)

# All but the count of tags and the tags themselves.
HEAD_BYTES = 19 + 1 + 1 + 2 + 16 + 16 + 8 + 16 + 8 + 32


def entry(**changes: Any) -> Entry:
    """Return an entry in which every field has a value of its own."""
    made = Entry(
        kind=Kind.EVENT,
        form=2,
        flags=0x0304,
        log=b"L" * 16,
        event=b"E" * 16,
        received=1_685_000_000_000,
        producer=b"P" * 16,
        number=7,
        commitment=b"C" * 32,
        tags=(b"a" * TAG_BYTES, b"b" * TAG_BYTES),
    )
    return made._replace(**changes)


entries = st.builds(
    Entry,
    kind=st.sampled_from(Kind).map(int),
    form=st.integers(0, 255),
    flags=st.integers(0, 65_535),
    log=st.binary(min_size=16, max_size=16),
    event=st.binary(min_size=16, max_size=16),
    received=st.integers(0, 2**64 - 1),
    producer=st.binary(min_size=16, max_size=16),
    number=st.none() | st.integers(0, NO_NUMBER - 1),
    commitment=st.binary(min_size=32, max_size=32),
    tags=st.lists(st.binary(min_size=TAG_BYTES, max_size=TAG_BYTES), max_size=TAGS_MAX).map(tuple),
)


def test_the_layout_is_the_one_that_was_published() -> None:
    expected = (
        b"caretrail/entry/v1\n" + b"\x00" + b"\x02" + b"\x03\x04" + b"L" * 16 + b"E" * 16
        + struct.pack(">Q", 1_685_000_000_000) + b"P" * 16 + struct.pack(">Q", 7) + b"C" * 32
        + b"\x02" + b"a" * 8 + b"b" * 8
    )  # fmt: skip
    assert entry().encode() == expected
    without = entry(number=None, tags=(), kind=Kind.OWN).encode()
    assert without[19] == 1
    assert without[HEAD_BYTES - 40 : HEAD_BYTES - 32] == b"\xff" * 8
    assert without[HEAD_BYTES:] == b"\x00"


@given(made=entries)
def test_decoding_gives_back_what_was_encoded(made: Entry) -> None:
    data = made.encode()
    assert Entry.decode(data) == made
    assert Entry.decode(data).encode() == data
    assert len(data) == HEAD_BYTES + 1 + TAG_BYTES * len(made.tags)


@given(one=entries, other=entries)
def test_two_entries_have_two_spellings(one: Entry, other: Entry) -> None:
    assert (one == other) is (one.encode() == other.encode())


@given(data=st.binary(max_size=200), made=entries)
def test_what_can_be_decoded_has_no_other_spelling(data: bytes, made: Entry) -> None:
    for text in (data, VERSION + data, made.encode()[:HEAD_BYTES] + data):
        try:
            decoded = Entry.decode(text)
        except VerificationError:
            continue
        assert decoded.encode() == text


def test_an_entry_that_was_cut_is_refused_at_every_length() -> None:
    data = entry().encode()
    for end in range(len(data)):
        with pytest.raises(VerificationError):
            Entry.decode(data[:end])


@pytest.mark.parametrize("more", [b"\0", b"\0" * TAG_BYTES, b"\n"])
def test_bytes_after_an_entry_are_refused(more: bytes) -> None:
    for made in (entry(), entry(tags=())):
        with pytest.raises(VerificationError, match="malformed"):
            Entry.decode(made.encode() + more)


@pytest.mark.parametrize("count", [0, 1, 3, 255])
def test_a_wrong_count_of_tags_is_refused(count: int) -> None:
    data = bytearray(entry().encode())
    data[HEAD_BYTES] = count
    with pytest.raises(VerificationError, match="malformed"):
        Entry.decode(bytes(data))


@pytest.mark.parametrize("at", range(len(VERSION)))
def test_another_version_is_refused(at: int) -> None:
    data = bytearray(entry().encode())
    data[at] ^= 1
    with pytest.raises(VerificationError, match="malformed"):
        Entry.decode(bytes(data))


# HMAC-SHA256 (RFC 2104), a piece at a time

MESSAGE = bytes(range(256)) * 20


def test_a_mac_is_hmac_sha256_for_messages_of_every_length() -> None:
    key = b"k" * 32
    mac = Mac(key)
    for length in range(5_001):
        assert mac.digest(MESSAGE[:length]) == hmac.digest(key, MESSAGE[:length], "sha256")


@pytest.mark.parametrize("length", range(65))
def test_a_mac_is_hmac_sha256_for_keys_of_every_length(length: int) -> None:
    key = MESSAGE[1 : 1 + length]
    assert Mac(key).digest(MESSAGE) == hmac.digest(key, MESSAGE, "sha256")


@given(key=st.binary(max_size=64), parts=st.lists(st.binary(max_size=5_000), max_size=4))
def test_a_mac_of_parts_is_the_mac_of_them_together(key: bytes, parts: list[bytes]) -> None:
    mac = Mac(key)
    expected = hmac.digest(key, b"".join(parts), "sha256")
    assert mac.digest(*parts) == expected
    assert mac.digest(*parts) == expected


def test_a_key_that_is_longer_than_a_block_is_a_bug() -> None:
    with pytest.raises(AssertionError):
        Mac(bytes(65))


# Commitments and tags


@given(salt=st.binary(min_size=SALT_BYTES, max_size=SALT_BYTES), content=st.binary(max_size=3_000))
def test_a_commitment_is_the_mac_of_the_labelled_content_under_the_salt(
    salt: bytes, content: bytes
) -> None:
    assert CONTENT == b"caretrail/content/v1\n"
    assert commitment(salt, content) == hmac.digest(salt, CONTENT + content, "sha256")


def test_a_commitment_hides_content_and_binds_it() -> None:
    salt, other = b"s" * SALT_BYTES, b"t" * SALT_BYTES
    assert commitment(salt, b"a") != commitment(salt, b"b")
    assert commitment(salt, b"a") != commitment(other, b"a")
    assert commitment(salt, b"a") != sha256(b"a").digest()


@given(
    key=st.binary(min_size=32, max_size=32),
    subject=st.text(st.characters(exclude_categories=["Cs"])),
    event=st.binary(min_size=16, max_size=16),
)
def test_a_tag_is_the_beginning_of_the_mac_of_the_event_under_its_subjects_key(
    key: bytes, subject: str, event: bytes
) -> None:
    expected = hmac.digest(key, subject.encode(), "sha256")
    assert subject_key(Mac(key), subject) == expected
    assert tag(Mac(expected), event) == hmac.digest(expected, event, "sha256")[:TAG_BYTES]


def test_half_of_a_surrogate_pair_is_a_subject_too() -> None:
    assert subject_key(Mac(b"k"), "\ud800") != subject_key(Mac(b"k"), "\udbff")
