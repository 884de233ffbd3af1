"""The primitive types of FHIR R4: which JSON kind and which text each may be (datatypes).

Every pattern takes linear time: what would need a nested repetition is counted or split instead.
"""

from __future__ import annotations

import re
from calendar import monthrange
from typing import TYPE_CHECKING, Final, NamedTuple

from caretrail.fhir.strict_json import Number

if TYPE_CHECKING:
    from collections.abc import Callable

# FHIR R4, string: "strings SHALL NOT exceed 1MB".
STRING_CHARACTERS_MAX: Final = 1024 * 1024
INTEGER_MAX: Final = 2_147_483_647

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_SPACE: Final = re.compile(r"\s", re.ASCII)
_CODE: Final = re.compile(r"\S+(?:\s\S+)*", re.ASCII)
_ID: Final = re.compile(r"[A-Za-z0-9.-]{1,64}")
_OID: Final = re.compile(r"urn:oid:[0-2](?:\.(?:0|[1-9][0-9]*))+")
_UUID: Final = re.compile(r"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]*={0,2}")
_TIME_OF_DAY: Final = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:(?:[0-5][0-9]|60)(?:\.[0-9]+)?"
_ZONE: Final = r"(?:Z|[+-](?:(?:0[0-9]|1[0-3]):[0-5][0-9]|14:00))"
_YEAR: Final = r"(?!0000)[0-9]{4}"
_MONTH: Final = rf"{_YEAR}-(?:0[1-9]|1[0-2])"
_DAY: Final = rf"{_MONTH}-(?:0[1-9]|[12][0-9]|3[01])"
_TIME: Final = re.compile(_TIME_OF_DAY)
_DATE: Final = re.compile(rf"{_DAY}|{_MONTH}|{_YEAR}")
_INSTANT: Final = re.compile(rf"{_DAY}T{_TIME_OF_DAY}{_ZONE}")
_DATE_TIME: Final = re.compile(rf"{_DAY}T{_TIME_OF_DAY}{_ZONE}|{_DAY}|{_MONTH}|{_YEAR}")
_INTEGER_TEXT: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,9})")
_DECIMAL_TEXT: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")


class Primitive(NamedTuple):
    """A row: the JSON kind, the rule in words, and the check of a value of that kind."""

    kind: str
    rule: str
    holds: Callable[[str], bool] | None = None
    least: int = -INTEGER_MAX - 1


class Problem(NamedTuple):
    """A broken rule: the issue type and the words for it, without the value."""

    code: str
    words: str


def _is_uri(text: str) -> bool:
    return _SPACE.search(text) is None


def _is_base64(text: str) -> bool:
    packed = "".join(text.split())
    return len(packed) % 4 == 0 and len(packed) > 0 and _BASE64.fullmatch(packed) is not None


def _is_calendar(text: str) -> bool:
    """Whether a date that fits its pattern is in the calendar."""
    if len(text) < 10 or text[8:10] <= "28":
        return True
    return int(text[8:10]) <= monthrange(int(text[:4]), int(text[5:7]))[1]


def _matching(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda text: pattern.fullmatch(text) is not None


def _dated(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda text: pattern.fullmatch(text) is not None and _is_calendar(text)


_URI: Final = Primitive("string", "a uri holds no white space", _is_uri)

# A row is the whole of a primitive type.
PRIMITIVES: Final[dict[str, Primitive]] = {
    "base64Binary": Primitive(
        "string", "base64 is groups of four of A-Z a-z 0-9 + / with = at the end", _is_base64
    ),
    "boolean": Primitive("boolean", "true or false without quotation marks"),
    "canonical": _URI,
    "code": Primitive(
        "string",
        "a code has no white space at its ends and single spaces inside",
        _matching(_CODE),
    ),
    "date": Primitive("string", "a date is yyyy, yyyy-mm or yyyy-mm-dd", _dated(_DATE)),
    "dateTime": Primitive(
        "string",
        "a dateTime is yyyy, yyyy-mm, yyyy-mm-dd or yyyy-mm-ddThh:mm:ss[.f] and Z or an offset",
        _dated(_DATE_TIME),
    ),
    "decimal": Primitive("number", "a decimal is a number without quotation marks"),
    "id": Primitive("string", "an id is 1 to 64 of A-Z a-z 0-9 - .", _matching(_ID)),
    "instant": Primitive(
        "string",
        "an instant is yyyy-mm-ddThh:mm:ss[.f] and Z or an offset, a day of the calendar",
        _dated(_INSTANT),
    ),
    "integer": Primitive("integer", "an integer is within -2147483648 and 2147483647"),
    "markdown": Primitive("string", "a text"),
    "oid": Primitive("string", "an oid is urn:oid: and numbers with dots", _matching(_OID)),
    "positiveInt": Primitive("integer", "a positiveInt is within 1 and 2147483647", None, 1),
    "string": Primitive("string", "a text"),
    "time": Primitive("string", "a time is hh:mm:ss[.f]", _matching(_TIME)),
    "unsignedInt": Primitive("integer", "an unsignedInt is within 0 and 2147483647", None, 0),
    "uri": _URI,
    "url": _URI,
    "uuid": Primitive(
        "string", "a uuid is urn:uuid: and 8-4-4-4-12 digits in lower case", _matching(_UUID)
    ),
    "xhtml": Primitive("string", "XHTML as text"),
}


def problem(name: str, value: object) -> Problem | None:
    """Return the rule of the primitive type `name` that `value` of JSON breaks, or None."""
    row = PRIMITIVES[name]
    if row.kind == "string":
        return _text_problem(row, value)
    if row.kind == "boolean":
        return None if isinstance(value, bool) else _kind_problem(name, row, value)
    number = isinstance(value, (int, Number)) and not isinstance(value, bool)
    if not number:
        return _kind_problem(name, row, value)
    if row.kind == "number":
        return None
    if isinstance(value, int) and row.least <= value <= INTEGER_MAX:
        return None
    return Problem("value", row.rule)


def from_text(name: str, text: str) -> object:
    """Return the JSON value that the text of an XML attribute stands for.

    Text that is not of the type stays text, so that validation names it.
    """
    kind = PRIMITIVES[name].kind if name in PRIMITIVES else "string"
    if kind == "boolean":
        return {"true": True, "false": False}.get(text, text)
    if kind == "integer" and _INTEGER_TEXT.fullmatch(text) and text != "-0":
        return int(text)
    if kind == "number" and _DECIMAL_TEXT.fullmatch(text):
        return int(text) if _INTEGER_TEXT.fullmatch(text) and text != "-0" else Number(text)
    return text


def _text_problem(row: Primitive, value: object) -> Problem | None:
    if not isinstance(value, str):
        return Problem("structure", f"must be a string in JSON, not {kind_of(value)}")
    if not value:
        return Problem("value", "must not be empty: leave the element out")
    if len(value) > STRING_CHARACTERS_MAX:
        return Problem("too-long", "is longer than 1 MiB")
    if _CONTROL.search(value):
        return Problem("value", "holds a control character other than tab, line feed and return")
    if row.holds is not None and not row.holds(value):
        return Problem("value", row.rule)
    return None


def _kind_problem(name: str, row: Primitive, value: object) -> Problem:
    return Problem("structure", f"is {kind_of(value)}, but {name} means {row.rule}")


def kind_of(value: object) -> str:
    """Return the JSON kind of `value` in words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, (int, Number)):
        return "a number"
    return "an array" if isinstance(value, list) else "an object"
