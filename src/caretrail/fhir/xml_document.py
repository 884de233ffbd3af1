"""A FHIR XML document as a tree of elements, read in one pass that trusts nothing (FHIR R4, XML)."""

from __future__ import annotations

import re
from typing import Final, NoReturn
from xml.parsers import expat

from caretrail.errors import InvalidError, Issue
from caretrail.fhir.narrative import XHTML
from caretrail.fhir.strict_json import BOM, step
from caretrail.limits import NESTING_DEPTH_MAX

# FHIR needs two namespaces, and a document seldom declares more than five. Each XHTML element that
# is cut out looks at all that are in force.
PREFIXES_MAX: Final = 32
FHIR: Final = "http://hl7.org/fhir"
_XSI: Final = "http://www.w3.org/2001/XMLSchema-instance "
_ATTRIBUTES: Final = frozenset({"id", "url", "value"})
_TAG_NAME: Final = re.compile(rb"<[^\s/>]+")


class Node:
    """An element: its name and attributes without namespaces, or the markup of its XHTML."""

    __slots__ = ("attributes", "children", "markup", "name")

    def __init__(self, name: str, attributes: dict[str, str]) -> None:
        self.name = name
        self.attributes = attributes
        self.children: list[Node] = []
        self.markup: str | None = None


def read(body: bytes) -> Node:
    """Return the root of the document; raise InvalidError where it is not FHIR XML."""
    body = body.removeprefix(BOM)
    if b"\0" in body:  # No XML in UTF-8 has one; expat would take the bytes for UTF-16.
        _refuse("structure", "the XML is not UTF-8")
    reader = _Reader(body)
    try:
        reader.parser.Parse(body, True)
    except expat.ExpatError as error:
        place = f"line {error.lineno}, column {error.offset + 1}"
        _refuse("structure", f"the XML is malformed at {place}")
    assert reader.root is not None, "a document that expat accepts has a root"
    return reader.root


def _refuse(code: str, rule: str, path: str = "") -> NoReturn:
    raise InvalidError((Issue(code, rule, path),)) from None


class _Reader:
    """The handlers of one parse, and the elements that are open."""

    def __init__(self, body: bytes) -> None:
        self.root: Node | None = None
        self._body = body
        self._open: list[Node] = []
        # XHTML is not read, but cut out: how many of its elements are open, and where it began.
        self._markup_depth = 0
        self._markup_start = 0
        # The declarations of namespace prefixes in force, the newest last.
        self._prefixes: list[tuple[str, str]] = []
        self._own: set[str] = set()
        self.parser = parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.XmlDeclHandler = self._declaration
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartNamespaceDeclHandler = self._start_namespace
        parser.EndNamespaceDeclHandler = self._end_namespace
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text

    @property
    def _path(self) -> str:
        path = ""
        for node in self._open:
            path = step(path, node.name) if path else node.name
        return path

    def _declaration(self, _: str, encoding: str | None, __: int) -> None:
        if encoding is not None and encoding.lower() != "utf-8":
            _refuse("structure", "the XML is not UTF-8")

    def _doctype(self, *_: object) -> None:
        _refuse("structure", "the XML has a DOCTYPE, which FHIR does not allow")

    def _start_namespace(self, prefix: str | None, uri: str | None) -> None:
        if len(self._prefixes) >= PREFIXES_MAX:
            _refuse("too-long", f"the XML has more than {PREFIXES_MAX} namespace prefixes in force")
        self._prefixes.append((prefix or "", uri or ""))
        self._own.add(prefix or "")

    def _end_namespace(self, _: str | None) -> None:
        self._prefixes.pop()

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        own, self._own = self._own, set()
        depth = len(self._open) + self._markup_depth
        if depth >= NESTING_DEPTH_MAX:
            _refuse("too-long", f"the content nests deeper than {NESTING_DEPTH_MAX} levels")
        if self._markup_depth:
            self._markup_depth += 1
            return
        namespace, _, name = tag.rpartition(" ")
        if namespace == XHTML and name == "div" and self._open:
            self._start_markup(own)
            return
        if namespace != FHIR:
            _refuse("structure", f"an element is not in the namespace {FHIR}", self._path)
        node = Node(name, attributes)
        if not attributes.keys() <= _ATTRIBUTES:
            self._check_attributes(node)
        if self._open:
            self._open[-1].children.append(node)
        else:
            self.root = node
        self._open.append(node)

    def _check_attributes(self, node: Node) -> None:
        if any(not name.startswith(_XSI) for name in node.attributes.keys() - _ATTRIBUTES):
            rule = "an element may only have the attributes value, id and url"
            _refuse("structure", rule, step(self._path, node.name) if self._open else "")

    def _start_markup(self, own: set[str]) -> None:
        self._markup_depth = 1
        self._markup_start = self.parser.CurrentByteIndex
        self._open[-1].children.append(Node("div", {}))
        self._outer = dict(row for row in self._prefixes if row[0] and row[0] not in own)

    def _end(self, _: str) -> None:
        if not self._markup_depth:
            self._open.pop()
            return
        self._markup_depth -= 1
        if not self._markup_depth:
            self._open[-1].children[-1].markup = self._markup()

    def _markup(self) -> str:
        """Return the slice of the XHTML, with the prefixes that were declared further out."""
        at, body = self.parser.CurrentByteIndex, self._body
        name = _TAG_NAME.match(body, self._markup_start)
        assert name is not None, "expat points at a tag"
        # At an end tag expat points to its start, at `/>` behind it.
        closing = b"</" + name[0][1:]
        end = body.index(b">", at) + 1 if body.startswith(closing, at) else at
        rest = body[name.end() : end].decode()
        text = name[0].decode() + rest
        declared = "".join(
            f' xmlns:{prefix}="{uri}"'
            for prefix, uri in self._outer.items()
            if f"{prefix}:" in text and '"' not in uri and "&" not in uri and "<" not in uri
        )
        return name[0].decode() + declared + rest

    def _text(self, text: str) -> None:
        if not self._markup_depth and text.strip():
            rule = "an element holds text: values stand in the attribute value"
            _refuse("structure", rule, self._path)
