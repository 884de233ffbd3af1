"""Signed notes: others' notes, one spelling, and no signature that is half believed."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caretrail.errors import VerificationError
from caretrail.limits import NOTE_BYTES_MAX, NOTE_SIGNATURES_MAX
from caretrail.tlog.keys import Ed25519PrivateKey
from caretrail.tlog.note import (
    Note,
    NoteSigner,
    NoteVerifier,
    Signature,
    VerifierKey,
    parse_signatures,
    verified,
)

NOTES = Path(__file__).parents[3] / "shared" / "vectors" / "merkle" / "notes"
ABSENT = [pytest.param(None, marks=pytest.mark.skip(reason="needs ../shared/vectors/merkle"))]

SIGNER = NoteSigner("example.org/log", Ed25519PrivateKey(b"1" * 32))
OTHER = NoteSigner("example.org/other", Ed25519PrivateKey(b"2" * 32))
TEXT = "first line\n\nlast line: ä\n"


def rows(name: str) -> list[Any]:
    file = NOTES / f"{name}.json"
    return json.loads(file.read_text()) if file.exists() else ABSENT


def verifiers(*signers: NoteSigner) -> list[NoteVerifier]:
    return [NoteVerifier(one.key) for one in signers]


def signed(*signers: NoteSigner, text: str = TEXT) -> Note:
    return Note(text, tuple(one.sign(text) for one in signers))


# Others' notes


@pytest.mark.parametrize("row", rows("go-note-open"))
def test_notes_are_opened_as_others_open_them(row: Any) -> None:
    known = [NoteVerifier(VerifierKey.parse(key)) for key in row["vkeys"]]
    data = b64decode(row["note_b64"])
    if not row["accept"]:
        with pytest.raises(VerificationError):
            verified(Note.parse(data), known)
        return
    note = Note.parse(data)
    assert list({one.name: None for one in verified(note, known)}) == row["verified_names"]
    assert note.format() == data


@pytest.mark.parametrize("row", rows("vkeys"))
def test_verifier_keys_are_judged_as_others_judge(row: Any) -> None:
    if row["valid"]:
        assert VerifierKey.parse(row["vkey"]).format() == row["vkey"]
    else:
        with pytest.raises(VerificationError):
            VerifierKey.parse(row["vkey"])


@pytest.mark.parametrize("row", rows("c2sp-examples"))
def test_the_example_of_the_specification_is_opened(row: Any) -> None:
    note = Note.parse(row["note"].encode())
    assert verified(note, [NoteVerifier(VerifierKey.parse(row["vkey"]))]) == note.signatures


@pytest.mark.skipif(not NOTES.exists(), reason="needs ../shared/vectors/merkle")
def test_a_note_is_signed_byte_by_byte_as_go_signs_it() -> None:
    row = json.loads((NOTES / "go-sign-deterministic.json").read_text())
    name, _, key = row["skey"].removeprefix("PRIVATE+KEY+").split("+", 2)
    signer = NoteSigner(name, Ed25519PrivateKey(b64decode(key)[1:]))
    assert Note(row["text"], (signer.sign(row["text"]),)).format() == row["signed"].encode()


# What holds and what does not


def test_a_note_is_opened_by_those_whose_keys_are_known() -> None:
    note = Note.parse(signed(SIGNER, OTHER).format())
    assert verified(note, verifiers(SIGNER)) == note.signatures[:1]
    assert verified(note, verifiers(OTHER)) == note.signatures[1:]
    assert verified(note, verifiers(SIGNER, OTHER)) == note.signatures
    with pytest.raises(VerificationError, match="no known key"):
        verified(note, [])


def test_a_known_signature_that_fails_rejects_the_whole_note() -> None:
    broken = OTHER.sign("another text\n")
    note = Note(TEXT, (SIGNER.sign(TEXT), broken))
    assert len(verified(note, verifiers(SIGNER))) == 1, "the broken one is unknown here"
    with pytest.raises(VerificationError, match="does not hold"):
        verified(note, verifiers(SIGNER, OTHER))
    # A second one beside a good one of the same key does not hide either.
    twice = Note(TEXT, (SIGNER.sign(TEXT), SIGNER.sign("another text\n")))
    with pytest.raises(VerificationError, match="does not hold"):
        verified(twice, verifiers(SIGNER))


def test_a_name_or_an_id_alone_does_not_make_a_key_known() -> None:
    namesake = NoteSigner("example.org/log", Ed25519PrivateKey(b"3" * 32))
    for unknown in (
        namesake.sign(TEXT),
        OTHER.sign(TEXT)._replace(key_id=SIGNER.key.key_id),
        SIGNER.sign(TEXT)._replace(name="example.org/other"),
    ):
        with pytest.raises(VerificationError, match="no known key"):
            verified(Note(TEXT, (unknown,)), verifiers(SIGNER))


def test_two_known_keys_may_not_look_the_same() -> None:
    with pytest.raises(VerificationError, match="one name and id"):
        verified(signed(SIGNER), verifiers(SIGNER, SIGNER))


@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_flipped_bit_is_found(at: int, bit: int) -> None:
    data = bytearray(signed(SIGNER).format())
    data[at % len(data)] ^= 1 << bit
    with pytest.raises(VerificationError):
        verified(Note.parse(bytes(data)), verifiers(SIGNER))


@given(data=st.binary(max_size=80), text=st.text(max_size=30))
def test_what_can_be_parsed_has_no_other_spelling(data: bytes, text: str) -> None:
    good = signed(SIGNER).format()
    for one in (data, good + data, data + good, text.encode(errors="replace") + b"\n\n" + good):
        try:
            note = Note.parse(one)
        except VerificationError:
            continue
        assert note.format() == one


LINE = SIGNER.sign(TEXT).format()
KEY = SIGNER.key.format()


@pytest.mark.parametrize(
    "data",
    [
        "", "\n", "\n\n", TEXT, f"{TEXT}\n", f"{TEXT}{LINE}", f"{TEXT}\n{LINE}"[:-1],
        f"{TEXT}\n{LINE}\n", f"{TEXT}\r\n{LINE}", f"{TEXT}\n{LINE}".replace("\n", "\r\n"),
        f"\t{TEXT}\n{LINE}", f"\0{TEXT}\n{LINE}", f"{TEXT}\n-{LINE[1:]}", f"{TEXT}\n {LINE}",
        f"{TEXT}\n{LINE[:-1]} \n", f"{TEXT}\n{LINE.replace(' ', '  ', 1)}", f"{TEXT}\n{LINE}x\n",
        f"{TEXT}\n— name \n", f"{TEXT}\n— name AAAAAA==\n", f"{TEXT}\n— name AAAAA\n",
        f"{TEXT}\n— na+me AAAAAAAA\n", f"{TEXT}\n— na\u00a0me AAAAAAAA\n", f"{TEXT}\n—  AAAAAAAA\n",
        f"{TEXT}\n— name AAAAAB==\n", f"{TEXT}\n— name AAAA AAAA\n", f"{TEXT}\n— name AAAAA-_A\n",
    ],
)  # fmt: skip
def test_a_malformed_note_is_refused(data: str) -> None:
    with pytest.raises(VerificationError):
        Note.parse(data.encode())


def test_bytes_that_are_no_text_are_refused() -> None:
    good = signed(SIGNER).format()
    for wrong in (b"\xff" + good, b"\xed\xa0\x80" + good, good.replace("ä".encode(), b"\xe4")):
        with pytest.raises(VerificationError, match="UTF-8"):
            Note.parse(wrong)
    # A byte order mark is text, and so another text than the one that was signed.
    with pytest.raises(VerificationError, match="does not hold"):
        verified(Note.parse(b"\xef\xbb\xbf" + good), verifiers(SIGNER))


def test_signatures_and_bytes_are_bounded() -> None:
    line = SIGNER.sign(TEXT)
    most = Note(TEXT, (line,) * NOTE_SIGNATURES_MAX)
    assert Note.parse(most.format()) == most
    with pytest.raises(VerificationError, match="too many"):
        Note.parse(Note(TEXT, (line,) * (NOTE_SIGNATURES_MAX + 1)).format())
    with pytest.raises(VerificationError, match="too long"):
        Note.parse(signed(SIGNER, text="x" * NOTE_BYTES_MAX + "\n").format())


def test_signatures_are_added_once() -> None:
    note = signed(SIGNER)
    more = note.add([OTHER.sign(TEXT), SIGNER.sign(TEXT)])
    assert more == signed(SIGNER, OTHER)
    assert more.add(more.signatures) == more


def test_signature_lines_stand_alone_in_an_answer() -> None:
    assert parse_signatures(LINE + LINE) == (SIGNER.sign(TEXT),) * 2
    for wrong in ("", "\n", LINE[:-1], LINE + "\n"):
        with pytest.raises(VerificationError):
            parse_signatures(wrong)


# Verifier keys


@given(
    name=st.text(st.characters(exclude_categories=["Z", "C"], exclude_characters="+"), min_size=1),
    kind=st.integers(0, 255),
    public=st.binary(min_size=1, max_size=40),
)
def test_a_verifier_key_gives_back_what_it_was_made_of(name: str, kind: int, public: bytes) -> None:
    key = VerifierKey(name, kind, public)
    assert VerifierKey.parse(key.format()) == key


@pytest.mark.parametrize(
    "text",
    [
        "", "+", "++", "name", "name+00000000", "name+00000000+", "name+00000000+!!!!", KEY + "=",
        KEY + "\n", " " + KEY, KEY[:-1], KEY.replace("+", " ", 1), KEY.replace("log+", "log++"),
        "\udc80" + KEY, "a\tb" + KEY, KEY.upper(), VerifierKey("na me", 1, b"k").format(),
        VerifierKey("", 1, b"k").format(), VerifierKey("x", 1, b"k").format().replace("x", "y"),
    ],
)  # fmt: skip
def test_a_malformed_verifier_key_is_refused(text: str) -> None:
    with pytest.raises(VerificationError):
        VerifierKey.parse(text)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "a\u2028b", "\udc80", "a\x85"])
def test_a_signer_needs_a_name_that_can_be_written(name: str) -> None:
    with pytest.raises(VerificationError, match="name of a key"):
        NoteSigner(name, Ed25519PrivateKey(b"1" * 32))


def test_the_key_id_binds_name_type_and_key() -> None:
    key = SIGNER.key
    others = (
        key._replace(name="x"),
        key._replace(kind=4),
        key._replace(public=OTHER.key.public),
    )
    assert len({one.key_id for one in (key, *others)}) == 4
    line = Signature.parse(LINE[:-1])
    assert (line.name, line.key_id) == (key.name, key.key_id)
    assert b64encode(key.key_id + line.signature).decode() in LINE
