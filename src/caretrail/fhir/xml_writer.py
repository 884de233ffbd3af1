"""The tree of a JSON resource written as FHIR XML (FHIR R4, XML format)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from caretrail.fhir import narrative
from caretrail.fhir.definitions import TYPES, members
from caretrail.fhir.strict_json import Number, is_name
from caretrail.fhir.xml_document import FHIR

if TYPE_CHECKING:
    from collections.abc import Iterator

# A reader of XML makes spaces of these in an attribute, unless they are written as numbers.
_ESCAPES: Final = {
    ord("&"): "&amp;",
    ord("<"): "&lt;",
    ord(">"): "&gt;",
    ord('"'): "&quot;",
    ord("\t"): "&#9;",
    ord("\n"): "&#10;",
    ord("\r"): "&#13;",
}
# Characters that XML 1.0 has no way to write.
_UNWRITABLE: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_EXTENSIONS: Final = ("extension", "modifierExtension")


def write(tree: dict[str, Any], *, pretty: bool = False) -> bytes:
    """Return the document of a resource; `pretty` puts each element on a line of its own."""
    writer = _Writer(pretty=pretty)
    writer.resource(tree, 0, f' xmlns="{FHIR}"')
    return f'<?xml version="1.0" encoding="UTF-8"?>{"".join(writer.parts)}'.encode()


class _Writer:
    """The parts of one document, in order."""

    def __init__(self, *, pretty: bool) -> None:
        self.parts: list[str] = []
        self._pretty = pretty

    def resource(self, node: dict[str, Any], level: int, namespace: str = "") -> None:
        """Write a resource as the element of its type."""
        kind = node["resourceType"]
        self._element(kind, namespace, node, kind, level, frozenset({"resourceType"}))

    def _line(self, level: int, text: str) -> None:
        self.parts.append(f"\n{'  ' * level}{text}" if self._pretty else text)

    def _element(
        self,
        name: str,
        attributes: str,
        node: dict[str, Any],
        kind: str,
        level: int,
        skip: frozenset[str],
    ) -> None:
        """Write an element and its children, which are the members of `node` but for `skip`."""
        rows = [row for row in _rows(node, kind) if row[0] not in skip]
        if not rows:
            self._line(level, f"<{name}{attributes}/>")
            return
        self._line(level, f"<{name}{attributes}>")
        for child, value, sibling in rows:
            self._part(child, value, sibling, _type(kind, child), level + 1)
        self._line(level, f"</{name}>")

    def _part(self, name: str, value: Any, sibling: Any, kind: str, level: int) -> None:
        if isinstance(value, dict):
            self._object(name, value, kind, level)
        elif kind == "xhtml" and isinstance(value, str):
            self._line(level, _markup(value))
        else:
            about = sibling if isinstance(sibling, dict) else {}
            text = "" if value is None else f' value="{_text(value)}"'
            self._element(name, _identity(about) + text, about, "Element", level, _ATTRIBUTE_ID)

    def _object(self, name: str, node: dict[str, Any], kind: str, level: int) -> None:
        if "resourceType" in node:
            self._line(level, f"<{name}>")
            self.resource(node, level + 1)
            self._line(level, f"</{name}>")
        elif name in _EXTENSIONS:
            url = f' url="{_text(node["url"])}"' if "url" in node else ""
            self._element(
                name, _identity(node) + url, node, "Extension", level, _ATTRIBUTES_OF_EXTENSION
            )
        else:
            self._element(name, _identity(node), node, kind, level, _ATTRIBUTE_ID)


_ATTRIBUTE_ID: Final = frozenset({"id"})
_ATTRIBUTES_OF_EXTENSION: Final = frozenset({"id", "url"})


def _rows(node: dict[str, Any], kind: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield each child element: its name, its value and what stands in its sibling."""
    given = dict.fromkeys(name.removeprefix("_") for name in node)
    known = members(kind) if kind in TYPES else given
    names = [*(name for name in known if name in given), *(n for n in given if n not in known)]
    for name in names:
        if not is_name(name):
            continue  # Nothing of ours, and no XML element could be called so.
        value, sibling = node.get(name), node.get(f"_{name}")
        if not isinstance(value, list) and not isinstance(sibling, list):
            yield name, value, sibling
            continue
        values, siblings = _listed(value), _listed(sibling)
        for index in range(max(len(values), len(siblings))):
            yield name, _at(values, index), _at(siblings, index)


def _listed(part: Any) -> list[Any]:
    return part if isinstance(part, list) else []


def _at(parts: list[Any], index: int) -> Any:
    return parts[index] if index < len(parts) else None


def _type(kind: str, name: str) -> str:
    if kind in TYPES:
        member = members(kind).get(name)
        return member.type if member is not None else ""
    # In any other resource too, `text` is its Narrative where it is an object with a div.
    return {"text": "Narrative", "meta": "Meta"}.get(name, "")


def _identity(node: dict[str, Any]) -> str:
    return f' id="{_text(node["id"])}"' if "id" in node else ""


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = value.text if isinstance(value, Number) else str(value)
    return _UNWRITABLE.sub("\ufffd", text).translate(_ESCAPES)


def _markup(div: str) -> str:
    """Return XHTML as it is; what is no element of XML is kept as text."""
    if narrative.is_element(div):
        return div
    return f'<div xmlns="{narrative.XHTML}">{_text(div)}</div>'
