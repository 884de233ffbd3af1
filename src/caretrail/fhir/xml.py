"""FHIR XML and JSON: the same resource in its two formats (FHIR R4, XML and JSON formats).

A document is read with expat: a DTD is refused where it begins, so that no entity can be declared,
expanded or fetched, and depth is counted while reading. The XHTML of `text.div` is kept as its
slice of the document. Elements in another order than the definition's are accepted; an element
that nobody knows is kept, so that validation names it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from caretrail.errors import InvalidError, Issue
from caretrail.fhir import contained, primitives, strict_json
from caretrail.fhir.definitions import TYPES, is_primitive, members
from caretrail.fhir.xml_document import FHIR, Node, read
from caretrail.fhir.xml_writer import write

if TYPE_CHECKING:
    from caretrail.fhir.contained import Shape

__all__ = ["FHIR", "from_json", "to_json"]


def to_json(body: bytes) -> bytes:
    """Return the JSON of one resource in XML, an AuditEvent or a Bundle of them.

    Raises InvalidError where the document is not FHIR XML. Whether the resource is valid is left
    to validation.
    """
    return strict_json.encode(_resource(read(body)))


def from_json(body: bytes, *, pretty: bool = False) -> bytes:
    """Return the XML of a resource in JSON: an AuditEvent in the order of its definition.

    The elements of other resources keep the order in which they are given.
    """
    return write(strict_json.read(body), pretty=pretty)


def _resource(node: Node) -> dict[str, Any]:
    return {"resourceType": node.name, **_object(node, node.name)}


def _object(node: Node, kind: str) -> dict[str, Any]:
    """Return the members of an element of type `kind`, "" where that is not known."""
    found: dict[str, Any] = {
        name: text for name, text in node.attributes.items() if name in ("id", "url")
    }
    if "value" in node.attributes:
        # It stands where no value can stand: validation says so.
        found["value"] = node.attributes["value"]
    groups: dict[str, list[Node]] = {}
    for child in node.children:
        groups.setdefault(child.name, []).append(child)
    for name, nodes in groups.items():
        shape = _shape(kind, name)
        if kind not in TYPES and shape.type in TYPES and "value" in nodes[0].attributes:
            shape = shape._replace(type="")  # The name means something else here.
        rows = [_parts(child, shape.type) for child in nodes]
        values, siblings = [value for value, _ in rows], [sibling for _, sibling in rows]
        if not shape.repeats and len(rows) == 1:
            _put(found, name, values[0], siblings[0])
        else:
            has_values = any(value is not None for value in values)
            has_siblings = any(sibling is not None for sibling in siblings)
            _put(found, name, values if has_values else None, siblings if has_siblings else None)
    return found


def _put(found: dict[str, Any], name: str, value: Any, sibling: Any) -> None:
    if value is not None:
        found[name] = value
    if sibling is not None:
        found[f"_{name}"] = sibling


def _shape(kind: str, name: str) -> Shape:
    if kind not in TYPES:
        return contained.shape(kind, name)
    member = members(kind).get(name)
    if member is None:
        return contained.Shape("", repeats=False)
    return contained.Shape(member.type, member.element.most is None)


def _parts(node: Node, kind: str) -> tuple[Any, Any]:
    """Return an element's value, and what stands in its `_name` sibling."""
    if node.markup is not None:
        return node.markup, None
    if _holds_resource(node, kind):
        return _resource(node.children[0]), None
    if not _is_value(node, kind):
        return _object(node, kind), None
    text = node.attributes.get("value")
    value = None if text is None else _from_text(kind, text)
    about = {name: part for name, part in node.attributes.items() if name == "id"}
    extensions = [_object(child, "Extension") for child in node.children]
    sibling = {**about, "extension": extensions} if extensions else about
    # An element without value and children is kept as an empty object: it breaks ele-1.
    return value, sibling if sibling or text is None else None


def _holds_resource(node: Node, kind: str) -> bool:
    resource = kind == "Resource" or (not kind and node.children[:1] != [])
    if not resource or not (node.children and node.children[0].name[:1].isupper()):
        return False
    if len(node.children) > 1:
        rule = "an element holds more than one resource"
        raise InvalidError((Issue("structure", rule),))
    return True


def _is_value(node: Node, kind: str) -> bool:
    if any(child.name != "extension" for child in node.children):
        return False
    return is_primitive(kind) or (not kind and ("value" in node.attributes or not node.children))


def _from_text(kind: str, text: str) -> Any:
    if kind:
        return primitives.from_text(kind, text)
    # Of a type that we don't know: only true and false are no text in nearly every element.
    return {"true": True, "false": False}.get(text, text)
