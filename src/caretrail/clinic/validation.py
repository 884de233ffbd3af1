"""Structure of any R4 resource: elements, cardinalities and types, by the models of fhirclient.

Codes of bindings, invariants and the patterns of most primitives are not judged.
"""

from __future__ import annotations

import re
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from fhirclient.models.fhirabstractbase import FHIRAbstractBase, FHIRValidationError

from caretrail.clinic.parameters import KINDS
from caretrail.errors import InvalidError, Issue
from caretrail.limits import ISSUES_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator

_MISSING: Final = re.compile(r'property \\?"(\w+)\\?"')


def check(tree: dict[str, Any]) -> None:
    """Raise InvalidError unless the tree is a resource of FHIR R4, decimals as floats."""
    kind = tree.get("resourceType")
    if kind not in KINDS:
        what = "the content is no resource of a type that is kept here"
        raise InvalidError((Issue("structure", what, "resourceType"),))
    issues = list(_empty(tree, kind))
    if not issues:
        try:
            issues = list(_misfits(_model(kind)(tree), kind))
        except FHIRValidationError as error:
            issues = list(_issues(error, kind))
    if issues:
        raise InvalidError(issues[:ISSUES_MAX])


@lru_cache(256)
def _model(kind: str) -> Any:
    return getattr(import_module(f"fhirclient.models.{kind.lower()}"), kind)


def _empty(value: Any, path: str, *, in_list: bool = False) -> Iterator[Issue]:
    """Yield where something is empty, which JSON of FHIR never is (FHIR R4, json)."""
    if value in ({}, [], "") or (value is None and not in_list):
        yield Issue("structure", "an element is never empty or null", path)
    elif isinstance(value, dict):
        for name, one in value.items():
            yield from _empty(one, f"{path}.{name}" if name.isidentifier() else path)
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from _empty(one, f"{path}[{index}]", in_list=True)


def _misfits(model: Any, path: str) -> Iterator[Issue]:
    """Yield what the models let pass: two types of a choice, later items of a list."""
    choices: set[str] = set()
    for name, member, kind, is_list, choice, _ in model.elementProperties():
        value = getattr(model, name)
        if value is None:
            continue
        place = f"{path}.{member}"
        if choice in choices:
            yield Issue("structure", "a choice has one type", place)
        choices |= {choice} - {None}
        for index, one in enumerate(value if is_list else [value]):
            at = f"{place}[{index}]" if is_list else place
            if isinstance(one, FHIRAbstractBase) and hasattr(one, "elementProperties"):
                yield from _misfits(one, at)
            elif is_list and kind is str and not isinstance(one, str | None):
                yield Issue("structure", "an element is not of its type", at)


def _issues(error: FHIRValidationError, path: str) -> Iterator[Issue]:
    """Yield the problems with their places; the messages of the models may quote and are not told."""
    if error.path:
        for step in str(error.path).split("."):
            path = f"{path}[{step}]" if step.isdigit() else f"{path}.{step}"
    for one in error.errors:
        match one:
            case FHIRValidationError():
                yield from _issues(one, path)
            case KeyError():
                found = _MISSING.search(str(one))
                place = f"{path}.{found[1]}" if found else path
                yield Issue("required", "a mandatory element is missing", place)
            case AttributeError():
                yield Issue("structure", "there is an element that FHIR R4 does not have", path)
            case TypeError():
                yield Issue("structure", "an element is not of its type", path)
            case _:
                yield Issue("value", "a value does not have the form of its type", path)
