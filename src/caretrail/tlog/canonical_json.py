"""Canonical JSON: the one spelling that a value has in an evidence bundle (RFC 8785).

Evidence is made of strings and of whole numbers that every JSON parser reads alike, so the hard
part of RFC 8785, how to spell fractions, cannot come up.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from caretrail.errors import VerificationError

# The largest whole number that every JSON parser reads as it is written (RFC 7493, 2.2).
INTEGER_MAX: Final = 2**53 - 1

Value: TypeAlias = "str | int | Sequence[Value] | Mapping[str, Value] | None"


def encode(value: Value) -> bytes:
    """Return the only spelling of `value`: UTF-8, sorted names, no white space (RFC 8785, 3.2)."""
    _check(value)
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise VerificationError("half of a surrogate pair has no UTF-8") from error


def lines(rows: Sequence[Value]) -> bytes:
    """Return one line for each row, as in NDJSON; each line is canonical."""
    return b"".join(encode(row) + b"\n" for row in rows)


def _check(value: Value) -> None:
    match value:
        case None | str():
            return
        case int() if not isinstance(value, bool) and 0 <= value <= INTEGER_MAX:
            return
        case Mapping():
            # Python sorts by code point and RFC 8785 by UTF-16; in ASCII both are the same.
            if not all(name.isascii() for name in value):
                raise VerificationError("a name in canonical JSON is not ASCII")
            for one in value.values():
                _check(one)
        case Sequence():
            for one in value:
                _check(one)
        case _:
            raise VerificationError("evidence holds only text and whole numbers up to 2^53 - 1")
