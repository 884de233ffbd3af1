"""The index of a resource: what HL7's FHIRPath expressions find in it, by parameter."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import fhirpathpy
from fhirpathpy.engine.nodes import ResourceNode
from fhirpathpy.models import models

from caretrail.clinic.elements import elements
from caretrail.clinic.parameters import Component, Parameter, parameters
from caretrail.errors import UnprocessableError
from caretrail.limits import INDEX_ROWS_MAX
from caretrail.search.reference import literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_MODEL: Final = models["r4"]
_NODES: Final[Any] = ResourceNode
_OR: Final = re.compile(r"\s\|\s")


class Row(NamedTuple):
    """One element under one key; the components of a composite share the number `part`."""

    key: str
    kind: str
    part: int
    element: Any


def rows(resource: dict[str, Any], *, base: str) -> list[Row]:
    """Return the index rows of a valid resource; `base` is the address of this server.

    Raises UnprocessableError where an expression meets what it cannot read, or finds too much.
    """
    found: list[Row] = []
    for parameter in parameters(resource["resourceType"]).values():
        if parameter.is_stored:
            continue
        try:
            make = _composite_rows if parameter.components else _plain_rows
            found += make(parameter, resource, base)
        except (ValueError, TypeError, ArithmeticError, AttributeError) as error:
            what = f"an element that `{parameter.code}` looks at cannot be read"
            raise UnprocessableError(what) from error
        if len(found) > INDEX_ROWS_MAX:
            raise UnprocessableError(f"a resource may have {INDEX_ROWS_MAX} searchable elements")
    return found


def _plain_rows(parameter: Parameter, resource: dict[str, Any], base: str) -> Iterator[Row]:
    for value in _compiled(parameter.expression)(resource, {}):
        for element in dict.fromkeys(elements(parameter.kind, value, base=base)):
            yield Row(parameter.key, parameter.kind, 0, element)


def _composite_rows(parameter: Parameter, resource: dict[str, Any], base: str) -> Iterator[Row]:
    part = 0
    for path in _OR.split(parameter.expression):
        for value in _compiled(path)(resource, {}):
            part += 1
            for number, component in enumerate(parameter.components):
                for element in _component(component, path, value, resource, base):
                    yield Row(f"{parameter.key}.{number}", component.kind, part, element)


def _component(
    component: Component, path: str, value: Any, resource: dict[str, Any], base: str
) -> dict[Any, None]:
    # The path says what the value is, so that a choice of types below it is found.
    node = _NODES.create_node(value, path)
    found = _compiled(component.expression)(node, {"resource": resource})
    return dict.fromkeys(
        element for one in found for element in elements(component.kind, one, base=base)
    )


@lru_cache(4_096)
def _compiled(expression: str) -> Callable[[Any, dict[str, Any]], list[Any]]:
    made: Callable[[Any, dict[str, Any]], list[Any]] = fhirpathpy.compile(
        expression, _MODEL, _OPTIONS
    )
    return made


def _resolve(references: list[Any]) -> list[Any]:
    """`resolve()`, as far as the expressions of search need it: the type of what is referred to."""
    found = []
    for one in references:
        value = getattr(one, "data", one)
        kind = _target_type(value) if isinstance(value, dict) else None
        if kind:
            found.append(_NODES.create_node({"resourceType": kind}))
    return found


def _target_type(reference: dict[str, Any]) -> str | None:
    text = reference.get("reference")
    parts = literal(text) if isinstance(text, str) else None
    return parts.type if parts is not None else reference.get("type")


_OPTIONS: Final = {"userInvocationTable": {"resolve": {"fn": _resolve, "arity": {0: []}}}}
