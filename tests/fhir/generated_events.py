"""Valid AuditEvents made from the table of elements, for properties that hold for every event."""

from __future__ import annotations

from typing import Any, Final

from hypothesis import strategies as st

from caretrail.fhir.definitions import TYPES, Element, is_primitive
from caretrail.fhir.strict_json import Number

_CHARACTERS: Final = st.characters(
    exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff", include_characters="\t\n\r"
)
_TEXT: Final = st.text(_CHARACTERS, min_size=1, max_size=12)
_WORD: Final = st.text("abcXYZ019-.", min_size=1, max_size=8)
_INSTANT: Final = st.sampled_from(
    (
        "2026-01-02T03:04:05Z",
        "2024-02-29T23:59:60.000+14:00",
        "0001-01-01T00:00:00.1234567890123-14:00",
        "9999-12-31T23:59:59.999Z",
    )
)
_DATE: Final = st.sampled_from(("2026", "2026-01", "2024-02-29"))
_PRIMITIVES: Final[dict[str, st.SearchStrategy[Any]]] = {
    "base64Binary": st.sampled_from(("AAEC", "AA==", "AAE=", "AAEC AwQF\nBg==")),
    "boolean": st.booleans(),
    "canonical": _WORD.map(lambda word: f"http://example.org/{word}|1"),
    "code": _WORD,
    "date": _DATE,
    "dateTime": _DATE | _INSTANT,
    "decimal": st.sampled_from((0, -7, Number("1.50"), Number("0.000"), Number("1e5"))),
    "id": _WORD,
    "instant": _INSTANT,
    "integer": st.integers(-(2**31), 2**31 - 1),
    "markdown": _TEXT,
    "oid": st.just("urn:oid:1.2.0.3"),
    "positiveInt": st.integers(1, 2**31 - 1),
    "string": _TEXT,
    "time": st.sampled_from(("00:00:00", "23:59:60.5")),
    "unsignedInt": st.integers(0, 2**31 - 1),
    "uri": _WORD.map(lambda word: f"urn:{word}"),
    "url": _WORD.map(lambda word: f"http://example.org/{word}"),
    "uuid": st.just("urn:uuid:01234567-89ab-cdef-0123-456789abcdef"),
    "xhtml": st.sampled_from(
        (
            '<div xmlns="http://www.w3.org/1999/xhtml">a &amp; b</div>',
            "<div xmlns='http://www.w3.org/1999/xhtml' ><p>ä<!-- c --><br/></p><img src='#a'/></div >",
            '<h:div xmlns:h="http://www.w3.org/1999/xhtml"><h:b>x</h:b></h:div>',
        )
    ),
}
_MAKERS: Final = (
    "Contributor", "DataRequirement", "Dosage", "TriggerDefinition", "Timing", "Signature",
)  # fmt: skip


def _tagged(kind: str, draw: st.DrawFn, depth: int) -> Any:
    if is_primitive(kind):
        return draw(_PRIMITIVES[kind])
    return _element(draw, kind, depth + 1)


def _is_wanted(draw: st.DrawFn, row: Element, depth: int) -> bool:
    if row.least:
        return True
    if row.name in ("contained", "id") or depth > 4 or (row.name == "extension" and depth > 2):
        return False
    return draw(st.integers(0, 2 + depth)) == 0


def _element(draw: st.DrawFn, kind: str, depth: int) -> dict[str, Any]:
    made: dict[str, Any] = {"resourceType": kind} if kind == "AuditEvent" else {}
    for row in TYPES[kind]:
        if not _is_wanted(draw, row, depth):
            continue
        small = [of for of in row.types if depth < 3 or of not in _MAKERS]
        of = draw(st.sampled_from(small or row.types))
        name = row.name + of[0].upper() + of[1:] if row.choice else row.name
        count = 1 if row.most == 1 else draw(st.integers(1, 2))
        values = [
            draw(st.sampled_from(sorted(row.codes))) if row.codes else _tagged(of, draw, depth)
            for _ in range(count)
        ]
        made[name] = values[0] if row.most == 1 else values
        if is_primitive(of) and of != "xhtml" and name not in ("id", "url") and depth < 3:
            _extend(draw, made, name)
    _mend(made, kind)
    return made


def _extend(draw: st.DrawFn, made: dict[str, Any], name: str) -> None:
    """Now and then give a value extensions, or an id."""
    if draw(st.integers(0, 9)) == 0:
        about = {"id": "x1", "extension": [{"url": "urn:why", "valueCode": "masked"}]}
        is_list = isinstance(made[name], list)
        made[f"_{name}"] = [about, *[None] * (len(made[name]) - 1)] if is_list else about


def _mend(made: dict[str, Any], kind: str) -> None:
    """Keep the invariants, which the table does not hold."""
    if kind == "Extension":
        if not any(name.removeprefix("_").startswith("value") for name in made):
            made.setdefault("extension", [{"url": "urn:a", "valueBoolean": True}])
        else:
            made.pop("extension", None)
    if kind == "AuditEvent.entity" and "query" in made:
        made.pop("name", None)
        made.pop("_name", None)
    if kind == "Period":
        made.pop("end", None)
        made.pop("_end", None)
    if kind == "Reference" and str(made.get("reference", "")).startswith("#"):
        made["reference"] = "Patient/1"
    if not made:
        made.update({"extension": [{"url": "urn:empty", "valueBoolean": True}]})


@st.composite
def events(draw: st.DrawFn) -> dict[str, Any]:
    """Return the tree of a valid AuditEvent."""
    return _element(draw, "AuditEvent", 0)
