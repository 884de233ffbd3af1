"""An audit message's XML as a tree of elements, read leniently and safely (DICOM PS3.15, A.5.1).

A DTD is refused where it begins, so that no entity is declared, expanded or fetched; elements and
depth are counted while reading. All else is taken as far as it goes: what is malformed is mended in
the ways of `_mended`, and of what was cut off the elements that are there are kept.
"""

from __future__ import annotations

import codecs
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn
from xml.parsers import expat

from caretrail.errors import InvalidError, Issue
from caretrail.fhir.strict_json import BOM
from caretrail.limits import AUDIT_MESSAGE_ELEMENTS_MAX, NESTING_DEPTH_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator

# Some senders end a datagram with NUL, or begin the message with a line feed.
_AROUND: Final = b"\0 \t\r\n"
_BARE_AMPERSAND: Final = re.compile("&(?!(?:amp|lt|gt|quot|apos|#[0-9]{1,7}|#x[0-9A-Fa-f]{1,6});)")
# What XML 1.0 has no place for, not even as a reference.
_FORBIDDEN: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_REPLACEMENT: Final = "\ufffd"


class Node:
    """An element by its local name; `text` is what stands directly in it, without white space around.

    Of an element that was cut off there is no text.
    """

    __slots__ = ("attributes", "children", "name", "text")

    def __init__(self, name: str, attributes: dict[str, str]) -> None:
        self.name = name
        self.attributes = attributes
        self.children: list[Node] = []
        self.text = ""

    def all(self, name: str) -> Iterator[Node]:
        """Yield the children of that name."""
        return (child for child in self.children if child.name == name)

    def first(self, name: str) -> Node | None:
        """Return the first child of that name."""
        return next(self.all(name), None)


class Document(NamedTuple):
    """The root, and whether the document is well-formed as it was sent."""

    root: Node
    is_sound: bool


def read(body: bytes) -> Document:
    """Return what can be read; raise InvalidError for a DTD, for too much, and where there is no element.

    UTF-8 is assumed whatever the document declares, as the standard asks for it.
    """
    body = body.strip(_AROUND).removeprefix(BOM).strip(_AROUND)
    reader = _Reader()
    try:
        reader.parse(body)
    except expat.ExpatError:
        reader = _Reader()
        # It was cut off, or goes on with something else: what came before is there.
        with suppress(expat.ExpatError):
            reader.parse(_mended(body).encode())
        if reader.root is None:
            _refuse("structure", "there is no XML element")
        return Document(reader.root, is_sound=False)
    assert reader.root is not None, "a document that expat accepts has a root"
    return Document(reader.root, is_sound=True)


def _refuse(code: str, rule: str) -> NoReturn:
    raise InvalidError((Issue(code, rule, "AuditMessage"),)) from None


def _mended(body: bytes) -> str:
    """Return the text with what senders do wrong set right: the encoding, `&`, control characters."""
    try:
        # Half a character at the end is left out: a datagram may have been cut there.
        text = codecs.getincrementaldecoder("utf-8")().decode(body)
    except UnicodeDecodeError:
        text = body.decode("latin-1")
    return _BARE_AMPERSAND.sub("&amp;", _FORBIDDEN.sub(_REPLACEMENT, text))


class _Reader:
    """The handlers of one parse, and the elements that are open."""

    def __init__(self) -> None:
        self.root: Node | None = None
        self._open: list[Node] = []
        self._texts: list[list[str]] = []
        self._elements = 0
        self._parser = parser = expat.ParserCreate("utf-8")
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text

    def parse(self, body: bytes) -> None:
        """Read the document; raise ExpatError where it ends being one."""
        self._parser.Parse(body, True)

    def _doctype(self, *_: object) -> None:
        _refuse("security", "the XML has a DOCTYPE, which an audit message does not need")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._elements += 1
        if self._elements > AUDIT_MESSAGE_ELEMENTS_MAX:
            _refuse("too-long", f"it has more than {AUDIT_MESSAGE_ELEMENTS_MAX} elements")
        if len(self._open) >= NESTING_DEPTH_MAX:
            _refuse("too-long", f"it nests deeper than {NESTING_DEPTH_MAX} levels")
        # Whatever namespace it was put into: the standard has none (PS3.15, A.5.1).
        node = Node(tag.rpartition(":")[2], attributes)
        if self._open:
            self._open[-1].children.append(node)
        else:
            self.root = node
        self._open.append(node)
        self._texts.append([])

    def _end(self, _: str) -> None:
        self._open.pop().text = "".join(self._texts.pop()).strip()

    def _text(self, text: str) -> None:
        self._texts[-1].append(text)
