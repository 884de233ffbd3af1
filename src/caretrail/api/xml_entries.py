"""The wrapper of a Bundle in XML (FHIR R4, XML), with each resource as a document of its own.

A resource is cut out of the received bytes. The one thing added to it is what it would lose by
that: the declarations of namespaces that stand further out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

from caretrail.errors import InvalidError, Issue

if TYPE_CHECKING:
    from collections.abc import Mapping

_FHIR: Final = "http://hl7.org/fhir"
_BYTE_ORDER_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")

_Fields = dict[str, str]


def read_xml(
    body: bytes,
) -> tuple[str, list[tuple[bytes | None, str | None, str, str, str | None]]]:
    """Return the Bundle's type, and of each entry resource, fullUrl, method, url, ifNoneExist."""
    if body.startswith(_BYTE_ORDER_MARKS):
        raise InvalidError("the Bundle is not XML in UTF-8")
    reader = _Reader(body)
    return reader.type, [
        (
            resource,
            fields.get("fullUrl"),
            fields.get("method", "POST"),
            fields.get("url", "AuditEvent"),
            fields.get("ifNoneExist"),
        )
        for resource, fields in zip(reader.resources, reader.fields, strict=True)
    ]


class _Reader:
    """One pass of expat; only the elements of the wrapper are looked at."""

    def __init__(self, body: bytes) -> None:
        self.type = ""
        self.resources: list[bytes | None] = []
        self.fields: list[_Fields] = []
        self._body = body
        self._path: list[str] = []
        self._resource_start = 0
        self._scopes: list[dict[str, str]] = [{}]
        self._declared: dict[str, str] = {}
        self._missing: dict[str, str] = {}
        # No entity is ever declared here, so none can be expanded or fetched.
        self._parser = parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.XmlDeclHandler = self._declaration
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartNamespaceDeclHandler = self._namespace
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        try:
            parser.Parse(body, True)
        except expat.ExpatError as error:
            raise InvalidError("the Bundle is not well-formed XML") from error
        finally:
            # The handlers and the parser hold each other.
            del self._parser

    def _declaration(self, _: str, encoding: str | None, __: int) -> None:
        if encoding is not None and encoding.lower() not in ("utf-8", "us-ascii"):
            raise InvalidError("the Bundle is not XML in UTF-8")

    def _doctype(self, *_: object) -> None:
        raise InvalidError("a document type declaration is not allowed in FHIR")

    def _namespace(self, prefix: str | None, uri: str | None) -> None:
        self._declared[prefix or ""] = uri or ""

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        path = self._path
        if len(path) == 3 and path[1:] == ["entry", "resource"]:
            self._start_resource()
        namespace, _, local = name.rpartition(" ")
        path.append(local)
        self._scopes.append(
            {**self._scopes[-1], **self._declared} if self._declared else self._scopes[-1]
        )
        self._declared = {}
        if len(path) > 4 or "resource" in path[2:3]:
            return
        if namespace != _FHIR or (len(path) == 1 and local != "Bundle"):
            what = "the document is not a Bundle in the namespace of FHIR"
            raise InvalidError((Issue("structure", what, "Bundle"),))
        if path == ["Bundle", "entry"]:
            self.resources.append(None)
            self.fields.append({})
        elif path == ["Bundle", "type"]:
            self.type = attributes.get("value", "")
        elif path[1:2] == ["entry"] and "value" in attributes:
            self._field(local, attributes["value"])

    def _field(self, name: str, value: str) -> None:
        wanted = ["fullUrl"] if len(self._path) == 3 else ["method", "url", "ifNoneExist"]
        if name not in wanted or self._path[2] not in ("fullUrl", "request"):
            return
        if name in self.fields[-1]:
            raise InvalidError((Issue("structure", "an element is there twice", self._entry),))
        self.fields[-1][name] = value

    def _start_resource(self) -> None:
        if self.resources[-1] is not None:
            raise InvalidError((Issue("structure", "an entry has one resource", self._entry),))
        self._resource_start = self._parser.CurrentByteIndex
        scope = self._scopes[-1]
        self._missing = {p: uri for p, uri in scope.items() if p not in self._declared}

    def _end(self, _: str) -> None:
        if len(self._path) == 4 and self._path[1:3] == ["entry", "resource"]:
            at = self._parser.CurrentByteIndex
            # After an empty element the index is behind it already.
            end = self._body.index(b">", at) + 1 if self._body.startswith(b"</", at) else at
            self.resources[-1] = self._standalone(self._body[self._resource_start : end])
        self._path.pop()
        self._scopes.pop()

    def _standalone(self, resource: bytes) -> bytes:
        declarations = "".join(
            f" xmlns{':' if prefix else ''}{prefix}={quoteattr(uri)}"
            for prefix, uri in self._missing.items()
        )
        name_end = next(at for at, byte in enumerate(resource) if byte in b" \t\r\n/>")
        return resource[:name_end] + declarations.encode() + resource[name_end:]

    @property
    def _entry(self) -> str:
        return f"Bundle.entry[{len(self.fields) - 1}]"
