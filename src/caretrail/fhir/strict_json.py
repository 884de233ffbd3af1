"""JSON read strictly: each member once, nothing beyond RFC 8259, numbers as they were written.

What ordinary readers pass over (a second member of the same name, NaN, half a surrogate pair) is
what lets two readers see two events in the same bytes.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from caretrail.errors import InvalidError, Issue
from caretrail.limits import ISSUES_MAX, NESTING_DEPTH_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator

BOM: Final = b"\xef\xbb\xbf"

# Without its last quotation mark a string runs to the end: one pass, whatever is sent.
_STRING: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_NOT_BRACKET: Final = bytes(set(range(256)) - set(b"[]{}"))
# Integers longer than this stay text: they are out of every range of FHIR.
_INTEGER_DIGITS_MAX: Final = 20
_NAME: Final = re.compile(r"_?[A-Za-z][A-Za-z0-9]{0,63}")


class Number:
    """A JSON number that is kept as it was written, as the precision of a decimal counts."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Number) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Number({self.text!r})"


class Object(dict[str, Any]):
    """A JSON object; `repeated` lists the names that it has more than once."""

    __slots__ = ("repeated",)
    repeated: tuple[str, ...]


class Document(NamedTuple):
    """What the bytes say, and the problems that do not keep them from being read further."""

    tree: Any
    issues: tuple[Issue, ...]


def parse(body: bytes) -> Document:
    """Return the tree in `body` with its repeated names; raise InvalidError where there is none.

    A BOM is tolerated. In the tree a decimal is a `Number`, and of repeated members the last one
    stands.
    """
    body = body.removeprefix(BOM)
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise InvalidError((Issue("structure", "the content is not UTF-8"),)) from None
    if depth(body) > NESTING_DEPTH_MAX:
        rule = f"the content nests deeper than {NESTING_DEPTH_MAX} levels"
        raise InvalidError((Issue("too-long", rule),))
    try:
        tree = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise InvalidError((Issue("structure", f"the JSON is malformed at {place}"),)) from None
    except _ConstantError:
        rule = "NaN and Infinity are not numbers of JSON"
        raise InvalidError((Issue("structure", rule),)) from None
    # One more than is told, so that the reader of this list sees that there were more.
    return Document(tree, tuple(islice(_issues(tree, root_of(tree)), ISSUES_MAX + 1)))


def read(body: bytes) -> Any:
    """Return the tree of JSON that `parse` accepted before, or that we wrote."""
    return _DECODER.decode(body.removeprefix(BOM).decode())


def is_name(text: str) -> bool:
    """Whether `text` can be the name of a FHIR element, as a member of a JSON object."""
    return _NAME.fullmatch(text) is not None


def encode(tree: object) -> bytes:
    """Return `tree` as compact JSON, numbers as they were written."""
    return _ENCODER.encode(tree)


def depth(body: bytes) -> int:
    """Return how deep the brackets nest, without descending into them."""
    deepest = level = 0
    for bracket in _STRING.sub(b"", body).translate(None, _NOT_BRACKET):
        if bracket in b"[{":
            level += 1
            if level > deepest:
                deepest = level
                if deepest > NESTING_DEPTH_MAX:
                    break
        else:
            level -= 1
    return deepest


def root_of(tree: object) -> str:
    """Return the first step of a FHIRPath into `tree`: the resource's type, as far as given."""
    kind = tree.get("resourceType") if isinstance(tree, dict) else None
    return kind if isinstance(kind, str) and _NAME.fullmatch(kind) else "$this"


def step(path: str, name: str) -> str:
    """Return the path to a member; a name that no element can have is not repeated."""
    return f"{path}.{name}" if _NAME.fullmatch(name) else path


class _ConstantError(Exception):
    """NaN or Infinity was met."""


def _integer(text: str) -> int | Number:
    return int(text) if len(text) <= _INTEGER_DIGITS_MAX and text != "-0" else Number(text)


def _constant(_: str) -> None:
    raise _ConstantError


def _object(pairs: list[tuple[str, Any]]) -> Object:
    members = Object(pairs)
    members.repeated = ()
    if len(members) != len(pairs):
        times = Counter(name for name, _ in pairs)
        members.repeated = tuple(name for name in members if times[name] > 1)
    return members


def _issues(tree: object, path: str) -> Iterator[Issue]:
    if isinstance(tree, Object):
        for name in tree.repeated:
            yield Issue("structure", f"the member {_quoted(name)} is given more than once", path)
        for name, value in tree.items():
            if not _is_unicode(name):
                yield Issue("structure", "a name holds half of a surrogate pair", path)
            yield from _issues(value, step(path, name))
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            yield from _issues(value, f"{path}[{index}]")
    elif isinstance(tree, str) and not _is_unicode(tree):
        yield Issue("structure", "holds half of a surrogate pair", path)


def _quoted(name: str) -> str:
    return f"'{name}'" if _NAME.fullmatch(name) else "of a name that no element has"


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _as_written(value: object) -> msgspec.Raw:
    if isinstance(value, Number):
        return msgspec.Raw(value.text.encode())
    raise TypeError("only a Number is written by this hook")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_float=Number,
    parse_int=_integer,
    parse_constant=_constant,
)
_ENCODER: Final = msgspec.json.Encoder(enc_hook=_as_written)
