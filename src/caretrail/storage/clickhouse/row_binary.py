"""ClickHouse's format RowBinary: fixed little-endian numbers, and bytes after their length.

Rows go in and come out as tuples. Only the types that our tables have are known here.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_NUMBERS: Final = {"UInt8": "B", "UInt16": "H", "UInt32": "I", "UInt64": "Q", "Int64": "q"}
_SEVEN_BITS: Final = 0x7F
_STRING: Final = "String"


def length(count: int) -> bytes:
    """Return a number as a variable-length integer (LEB128)."""
    if count <= _SEVEN_BITS:
        return bytes((count,))
    found = bytearray()
    while count > _SEVEN_BITS:
        found.append(count & _SEVEN_BITS | 0x80)
        count >>= 7
    found.append(count)
    return bytes(found)


def text(value: str) -> bytes:
    """Return a String."""
    data = value.encode()
    return length(len(data)) + data


def _fixed(kind: str) -> str | None:
    """Return how `struct` spells a type of fixed width, or None."""
    if kind.startswith("FixedString("):
        return f"{kind[12:-1]}s"
    return _NUMBERS.get(kind)


def encode(kinds: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """Return rows of these types; a String is given as `str` or `bytes`."""
    parts: list[Callable[[Any], bytes]] = [_encoder(kind) for kind in kinds]
    return b"".join([part(value) for row in rows for part, value in zip(parts, row, strict=True)])


@lru_cache(64)
def _encoder(kind: str) -> Callable[[Any], bytes]:
    fixed = _fixed(kind)
    if fixed is not None:
        return struct.Struct(f"<{fixed}").pack
    assert kind == _STRING, kind
    return _string


def _string(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return length(len(data)) + data


def decode(kinds: Sequence[str], data: bytes) -> list[tuple[Any, ...]]:
    """Return the rows of these types; a String comes out as `bytes`."""
    fixed = [_fixed(kind) for kind in kinds]
    if all(fixed):
        return list(struct.iter_unpack("<" + "".join(one or "" for one in fixed), data))
    steps = _steps(tuple(kinds))
    rows, at, end = [], 0, len(data)
    while at < end:
        row: list[Any] = []
        for numbers in steps:
            if numbers is not None:
                row += numbers.unpack_from(data, at)
                at += numbers.size
                continue
            count, shift = 0, 0
            while True:
                byte = data[at]
                at += 1
                count |= (byte & _SEVEN_BITS) << shift
                if byte <= _SEVEN_BITS:
                    break
                shift += 7
            row.append(data[at : at + count])
            at += count
        rows.append(tuple(row))
    return rows


@lru_cache(64)
def _steps(kinds: tuple[str, ...]) -> tuple[struct.Struct | None, ...]:
    """Return runs of fixed types as one structure each, and None for a String."""
    steps: list[struct.Struct | None] = []
    run = ""
    for kind in kinds:
        fixed = _fixed(kind)
        if fixed is not None:
            run += fixed
            continue
        assert kind == _STRING, kind
        if run:
            steps.append(struct.Struct(f"<{run}"))
            run = ""
        steps.append(None)
    if run:
        steps.append(struct.Struct(f"<{run}"))
    return tuple(steps)
