"""Narrative: which XHTML `text.div` may hold (FHIR R4, narrative, txt-1 and txt-2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from xml.etree.ElementTree import ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

if TYPE_CHECKING:
    from collections.abc import Iterator
    from xml.etree.ElementTree import Element

XHTML: Final = "http://www.w3.org/1999/xhtml"

# Chapters 7 to 11 (without 9.4) and 15 of HTML 4.0, `a` and images (txt-1).
_WORDS: Final = (
    "a abbr acronym address area b bdo big blockquote br caption center cite code col colgroup dd"
    " dfn div dl dt em font h1 h2 h3 h4 h5 h6 hr i img kbd li map ol p pre q s samp small span"
    " strike strong sub sup table tbody td tfoot th thead tr tt u ul var"
)
_ELEMENTS: Final = frozenset(_WORDS.split())
_LINKS: Final = frozenset({"href", "src", "background", "action", "formaction"})


def problems(div: str) -> Iterator[str]:
    """Yield the rules that the XHTML of a narrative breaks, in words."""
    root = _parsed(div)
    if root is None:
        yield (
            "is not well-formed XHTML without a DTD"
            " (of named entities XML has only lt, gt, amp, quot, apos)"
        )
        return
    if root.tag != f"{{{XHTML}}}div":
        yield f"must be one div in the namespace {XHTML}"
    found = list(root.iter())
    if any(_name(element) not in _ELEMENTS for element in found):
        yield "may have only the basic elements of HTML 4.0 (txt-1): no script, form or frame"
    if any(_is_active(element) for element in found):
        yield "must not have event attributes or script addresses (txt-1)"
    if not any(_is_content(element) for element in found):
        yield "must have text or an image (txt-2)"


def is_element(div: str) -> bool:
    """Whether the text is one XML element, so that it can stand in a document as it is."""
    return _parsed(div) is not None


def _parsed(div: str) -> Element | None:
    # What comes before or after the element is no part of it; a declaration would be allowed there.
    if not (div.startswith("<") and div.endswith(">")) or div.startswith(("<?", "<!")):
        return None
    try:
        return fromstring(div.encode(), forbid_dtd=True)
    except (DefusedXmlException, ParseError, ValueError):
        return None


def _name(element: Element) -> str:
    return str(element.tag).removeprefix(f"{{{XHTML}}}")


def _is_active(element: Element) -> bool:
    for name, value in element.attrib.items():
        local = name.rpartition("}")[2].lower()
        address = "".join(value.split()).lower()
        if local.startswith("on") or (local in _LINKS and address.startswith("javascript:")):
            return True
    return False


def _is_content(element: Element) -> bool:
    text = (element.text or "") + (element.tail or "")
    return bool(text.strip()) or _name(element) == "img"
