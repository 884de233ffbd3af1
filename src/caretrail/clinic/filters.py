"""What a search asks for, as one expression that any store can answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from caretrail.search.reference import literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from caretrail.clinic.elements import Ref
    from caretrail.search.date import Value as DateValue


class LocalValue(NamedTuple):
    """A wanted resource of this server; a type or version that is None may be any."""

    type: str | None
    id: str
    version: str | None

    def matches(self, elements: Iterable[Ref]) -> bool:
        """Tell whether any element refers to it."""
        return any(self._fits(one.reference) for one in elements)

    def _fits(self, text: str | None) -> bool:
        stored = literal(text) if text else None
        return (
            stored is not None
            and stored.base is None
            and stored.id == self.id
            and self.type in (None, stored.type)
            and self.version in (None, stored.version)
        )


class IdentifierValue(NamedTuple):
    """`:identifier`: the reference has this Identifier; `value` compares it as a token."""

    value: Any

    def matches(self, elements: Iterable[Ref]) -> bool:
        """Tell whether any element's own identifier is it."""
        return bool(
            self.value.matches([one.identifier for one in elements if one.identifier is not None])
        )


class Match(NamedTuple):
    """The resources with an element of a parameter that fits the value."""

    key: str
    kind: str
    value: Any


class Present(NamedTuple):
    """The resources with any element of a parameter."""

    key: str
    kind: str


class Together(NamedTuple):
    """The resources with an element of a composite parameter whose components all fit."""

    key: str
    parts: tuple[tuple[str, Any], ...]


class One(NamedTuple):
    """The resource of this type and id."""

    kind: str
    id: str


class Ids(NamedTuple):
    """The resources with one of these ids."""

    ids: tuple[str, ...]


class Updated(NamedTuple):
    """The resources whose version is of this time."""

    value: DateValue


class Chain(NamedTuple):
    """The resources that refer by a parameter to one of a type that fits."""

    key: str
    target: str
    filter: Filter


class Has(NamedTuple):
    """The resources to which one of a type refers by a parameter, if that one fits."""

    source: str
    key: str
    filter: Filter


class Not(NamedTuple):
    """The resources that do not fit."""

    filter: Filter


class AnyOf(NamedTuple):
    """The resources that fit any; none for no filters."""

    filters: tuple[Filter, ...]


class AllOf(NamedTuple):
    """The resources that fit all; all of them for no filters."""

    filters: tuple[Filter, ...]


Filter: TypeAlias = (
    Match | Present | Together | One | Ids | Updated | Chain | Has | Not | AnyOf | AllOf
)
