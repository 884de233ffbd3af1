"""The search parameters of every resource type, as rows made from HL7's table (FHIR R4, search)."""

from __future__ import annotations

import re
from functools import cache
from typing import Final, NamedTuple

from caretrail.patterns.tables.composite_parameters import COMPOSITES
from caretrail.patterns.tables.resource_types import RESOURCE_TYPES
from caretrail.patterns.tables.search_parameters import SEARCH_PARAMETERS

# The types that are kept: the repository has the others, and Parameters are only ever sent.
KINDS: Final = RESOURCE_TYPES - {
    "AuditEvent",
    "OperationDefinition",
    "Parameters",
    "SearchParameter",
    "Subscription",
}

# What no index answers: where something is on the globe, full text, and named queries.
_NOT_INDEXED: Final = ("special", "")
_STORED: Final = ("_id", "_lastUpdated")

MODIFIERS: Final = {
    "token": ("missing", "not", "text", "of-type", "in", "not-in", "above", "below"),
    "reference": ("missing", "identifier", "text"),
    "string": ("missing", "exact", "contains"),
    "uri": ("missing", "above", "below"),
    "date": ("missing",),
    "number": ("missing",),
    "quantity": ("missing",),
    "composite": ("missing",),
}


# `as` takes one element only; later releases of FHIR write these expressions so that they take all.
_AS: Final = re.compile(r"\(?([A-Za-z.]+) as ([A-Za-z]+)\)?")
_AS_FUNCTION: Final = re.compile(r"\.as\(([A-Za-z]+)\)")


class Component(NamedTuple):
    """One part of a composite parameter: its kind, and where it is below the composite's base."""

    kind: str
    expression: str


class Parameter(NamedTuple):
    """One search parameter; `key` is what its index rows are filed under."""

    code: str
    kind: str
    expression: str
    targets: tuple[str, ...]
    key: str
    components: tuple[Component, ...] = ()

    @property
    def is_stored(self) -> bool:
        """Tell whether the resource's own row answers, without an index."""
        return self.code in _STORED


@cache
def parameters(kind: str) -> dict[str, Parameter]:
    """Return the search parameters of a resource type by code; those of all types for ""."""
    found = {row.code: row for row in _rows("Resource", kind)}
    if kind:
        found |= {row.code: row for row in _rows(kind, kind)}
    return found


def _rows(base: str, kind: str) -> list[Parameter]:
    composites = dict(COMPOSITES.get(base, ()))
    rows = []
    for code, value_kind, expression, targets in SEARCH_PARAMETERS.get(base, ()):
        if value_kind in _NOT_INDEXED or not expression:
            continue
        own = _every(expression)
        if base == "Resource":
            own = own.replace("Resource.", f"{kind}.")
        # What all types have in common is filed under one name, so that a search over types is one.
        key = code if base == "Resource" else f"{kind}.{code}"
        parts = tuple(Component(one, _every(path)) for one, path in composites.get(code, ()))
        rows.append(Parameter(code, value_kind, own, tuple(targets.split()), key, parts))
    return rows


def _every(expression: str) -> str:
    """Return the expression with `ofType` for each `as`."""
    return _AS_FUNCTION.sub(r".ofType(\1)", _AS.sub(r"\1.ofType(\2)", expression))
