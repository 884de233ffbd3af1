"""Messages in a stream: counted or by lines, whole or not, however the stream is split."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caretrail.search.record import NO_FLAGS, Flag
from caretrail.transport.framing import Framing, Piece

ONE = b"<85>1 2026-11-25T09:00:00Z host app 7 IHE+RFC-3881 - <AuditMessage/>"
OTHER = "<13>1 - - - - - - Grüße\x1b[31m".encode()


def counted(message: bytes) -> bytes:
    return b"%d %s" % (len(message), message)


def cut(*parts: bytes, **limits: int) -> list[Piece]:
    framing = Framing(**limits)
    found = [piece for part in parts for piece in framing.feed(part)]
    return found + framing.end()


def frames(*parts: bytes, **limits: int) -> list[bytes]:
    return [piece.frame for piece in cut(*parts, **limits)]


def test_counted_messages_are_cut_by_their_counts() -> None:
    lines = b"<13>1 - - - - - - two\nlines"
    assert frames(counted(ONE) + counted(lines) + counted(OTHER)) == [ONE, lines, OTHER]


def test_lines_are_messages_where_there_is_no_count() -> None:
    assert frames(ONE + b"\n" + OTHER + b"\r\n" + ONE + b"\0" + ONE) == [ONE, OTHER, ONE, ONE]


def test_both_ways_may_alternate_and_separators_are_passed_over() -> None:
    assert frames(counted(ONE) + b"\n" + OTHER + b"\n\n " + counted(ONE)) == [ONE, OTHER, ONE]


@pytest.mark.parametrize("count", [len(ONE) - 7, 5])
def test_after_a_count_that_is_too_small_the_rest_is_kept_and_the_next_message_is_found(
    count: int,
) -> None:
    framing = Framing()
    found = framing.feed(b"%d %s%s" % (count, ONE, counted(OTHER)))
    assert [one.frame for one in found] == [ONE[:count], ONE[count:].lstrip(), OTHER]
    assert framing.strays == 1


def test_after_a_count_that_is_too_large_the_next_message_but_one_is_found() -> None:
    stream = b"%d %s" % (len(ONE) + 5, ONE) + counted(OTHER) + counted(ONE)
    assert b"".join(frames(stream)).replace(b" ", b"") == (ONE + counted(OTHER) + ONE).replace(
        b" ", b""
    )
    assert frames(stream)[-1] == ONE


@pytest.mark.parametrize(
    "stray", [b"GET / HTTP/1.1", b"012 <85>", b"9999999999 <85>1", b"\x16\x03\x01\x02", b"<?xml"]
)
def test_what_is_no_message_is_kept_up_to_where_one_begins(stray: bytes) -> None:
    assert b"".join(frames(stray)) == stray.strip(b"\0")
    assert frames(stray + b"\n" + ONE + b"\n")[-1] == ONE
    assert frames(stray + b" " + counted(ONE))[-1] == ONE


def test_of_a_message_that_is_too_long_the_beginning_is_kept() -> None:
    long = ONE + b"x" * 200
    kept = Piece(long[:100], Flag.TRUNCATED)
    limits = {"frame_max": 100, "count_max": 1000}
    assert cut(counted(long) + counted(ONE), **limits) == [kept, Piece(ONE)]
    assert cut(long + b"\n" + ONE + b"\n", **limits) == [kept, Piece(ONE)]
    assert cut(b"%d %s" % (1001, ONE), **limits) == [Piece(ONE, Flag.TRUNCATED)]
    assert b"".join(frames(b"?" * 250, **limits)) == b"?" * 250


def test_of_a_stream_that_breaks_off_the_beginning_is_kept() -> None:
    assert cut(counted(ONE)[:-3]) == [Piece(ONE[:-3], Flag.TRUNCATED)]
    assert cut(ONE) == [Piece(ONE, NO_FLAGS)]
    assert cut(counted(ONE + b"x" * 200)[:-3], frame_max=100) == [
        Piece((ONE + b"x" * 200)[:100], Flag.TRUNCATED)
    ]
    assert cut(ONE + b"x" * 100, frame_max=100) == [Piece((ONE + b"x" * 100)[:100], Flag.TRUNCATED)]
    assert cut(b" \n") == []


_PARTS = st.sampled_from(
    [counted(ONE), ONE, OTHER, b"\n", b"\r\n", b"\0", b" ", b"7 <", b"<13>", b"12", b"<", b"0",
     b"x" * 30, b"300 <1>" + b"y" * 300, b"5 <85>1 ", b"\n<1>1", b"\xff\xfe", b"2000 <1>"]
)  # fmt: skip


@given(st.lists(_PARTS, max_size=12).map(b"".join), st.data())
def test_any_split_of_a_stream_gives_the_same_messages(stream: bytes, data: st.DataObject) -> None:
    places = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    bounds = [0, *places, len(stream)]
    parts = [stream[a:b] for a, b in pairwise(bounds)]
    limits = {"frame_max": 90, "count_max": 900}
    whole = cut(stream, **limits)
    assert cut(*parts, **limits) == whole
    assert cut(*(bytes([byte]) for byte in stream), **limits) == whole


@given(st.binary(max_size=400))
def test_no_byte_is_lost_of_messages_that_are_not_too_long(stream: bytes) -> None:
    """Only counts and separators go: in order, each piece is part of the stream."""
    at = 0
    for frame in frames(stream):
        at = stream.index(frame, at) + len(frame)


@given(st.lists(st.binary(min_size=1, max_size=60).map(lambda rest: b"<1>" + rest), max_size=20))
def test_counted_messages_come_back_whatever_bytes_they_have(messages: list[bytes]) -> None:
    assert frames(b"".join(map(counted, messages))) == messages
