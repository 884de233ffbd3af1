"""Parsing a search of any resource type (FHIR R4, search): names, modifiers, chains and results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from caretrail.clinic import amount
from caretrail.clinic.contract import SortKey
from caretrail.clinic.filters import (
    AllOf,
    AnyOf,
    Chain,
    Filter,
    Has,
    IdentifierValue,
    Ids,
    LocalValue,
    Match,
    Not,
    Present,
    Together,
    Updated,
)
from caretrail.clinic.parameters import KINDS, MODIFIERS, Parameter, parameters
from caretrail.errors import Issue, ParameterError
from caretrail.limits import (
    CHAIN_LINKS_MAX,
    SEARCH_COUNT_DEFAULT,
    SEARCH_VALUES_MAX,
    SORT_KEYS_MAX,
)
from caretrail.search import date, reference, string, token, uri
from caretrail.search.result_parameters import ResultParameters
from caretrail.search.syntax import split_escaped, unescape

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from caretrail.clinic.terminology import Code, Terminology


class Include(NamedTuple):
    """Whose references to follow: from a type, by a parameter ("" for any), to a type ("" any)."""

    source: str
    key: str
    target: str
    again: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """A search, checked. `conditions` counts the parameters that choose resources."""

    filter: Filter
    conditions: int = 0
    sort: tuple[SortKey, ...] = ()
    count: int = SEARCH_COUNT_DEFAULT
    total: str | None = None
    summary: str | None = None
    elements: tuple[str, ...] = ()
    include: tuple[Include, ...] = ()
    revinclude: tuple[Include, ...] = ()
    page: str | None = None
    applied: tuple[tuple[str, str], ...] = ()
    ignored: tuple[Issue, ...] = ()


_CHOICES: Final = {
    "_total": ("none", "estimate", "accurate"),
    "_summary": ("true", "text", "data", "count", "false"),
}
# Handled by content negotiation, before the search is read.
_ELSEWHERE: Final = ("_format", "_pretty")


class Place(NamedTuple):
    """Where a search is made: the address of this server, when, and what is known of codes there.

    `now` is in milliseconds since 1970.
    """

    base: str
    now: int
    terminology: Terminology | None = None


def parse(
    pairs: Sequence[tuple[str, str]], kinds: Sequence[str], *, strict: bool, place: Place
) -> Query:
    """Return the search that the pairs of names and values say, over resources of these types.

    A parameter that is not known is left out, and named in `ignored`; with `strict` it is an
    error. A value, prefix or modifier that cannot be used is always one. Raises ParameterError.
    """
    return _Parser(kinds, strict=strict, place=place).parse(pairs)


class _Parser(ResultParameters):
    def __init__(self, kinds: Sequence[str], *, strict: bool, place: Place) -> None:
        # Only what all types have in common can be asked of several.
        self._kind = kinds[0] if len(kinds) == 1 else ""
        super().__init__(strict=strict)
        self._values = _Values(place)
        self._filters: list[Filter] = []

    def parse(self, pairs: Sequence[tuple[str, str]]) -> Query:
        for name, value in pairs:
            if name not in _ELSEWHERE and value:  # FHIR: a parameter without a value is ignored.
                self._add(name, value)
        return Query(AllOf(tuple(self._filters)), len(self._filters), **self.results())

    def _add(self, name: str, value: str) -> None:
        control = _CONTROLS.get(name.partition(":")[0])
        try:
            if control is not None:
                control(self, name, value)
                return
            self._filters.append(self._values.filter(self._kind, name, value))
        except _UnknownError as error:
            self.unknown(str(error))
        else:
            self._applied.append((name, value))

    def read_sort(self, name: str, value: str) -> None:
        known = parameters(self._kind)
        keys: list[SortKey] = list(self._control.get("sort", ()))
        for part in value.split(","):
            row = known.get(part.strip().removeprefix("-"))
            if row is None or row.components:
                self.unknown("a sort key that the type does not have was left out")
                continue
            keys.append(SortKey(row.key, row.kind, part.strip().startswith("-")))
        if len(keys) > SORT_KEYS_MAX:
            raise ParameterError(f"a search is sorted by {SORT_KEYS_MAX} keys at most")
        if keys:
            self._control["sort"] = tuple(keys)
            self._applied.append((name, value))

    def read_choice(self, name: str, value: str) -> None:
        if value not in _CHOICES[name]:
            raise ParameterError(f"`{name}` is one of {', '.join(_CHOICES[name])}")
        self._control[name[1:]] = value
        self._applied.append((name, value))

    def read_elements(self, name: str, value: str) -> None:
        names = (part.strip().partition(".") for part in value.split(","))
        # `Patient.name` is `name`, and a path below the base is answered by its base element.
        chosen = tuple(rest.partition(".")[0] if head in KINDS else head for head, _, rest in names)
        self._control["elements"] = (*self._control.get("elements", ()), *filter(None, chosen))
        self._applied.append((name, value))

    def read_include(self, name: str, value: str) -> None:
        field, _, modifier = name.partition(":")
        if modifier not in ("", "iterate", "recurse"):
            raise ParameterError("an include has the modifier `:iterate` only")
        source, _, rest = value.partition(":")
        code, _, target = rest.partition(":")
        if (source not in KINDS and value != "*") or (target and target not in KINDS):
            raise ParameterError("an include is Type:parameter, or Type:parameter:Target")
        row = parameters(source).get(code) if code not in ("", "*") else None
        if code not in ("", "*") and (row is None or row.kind != "reference"):
            self.unknown("an include by a parameter that is no reference was left out")
            return
        if field == "_revinclude" and row is None:
            raise ParameterError("`_revinclude` names one parameter: Type:parameter")
        one = Include(
            "" if source == "*" else source, row.key if row else "", target, again=bool(modifier)
        )
        self._control[field[1:]] = (*self._control.get(field[1:], ()), one)
        self._applied.append((name, value))


_CONTROLS: Final[dict[str, Callable[[_Parser, str, str], None]]] = {
    "_count": _Parser.read_count,
    "_sort": _Parser.read_sort,
    "_total": _Parser.read_choice,
    "_summary": _Parser.read_choice,
    "_elements": _Parser.read_elements,
    "_include": _Parser.read_include,
    "_revinclude": _Parser.read_include,
    "_page": _Parser.read_page,
}


class _UnknownError(Exception):
    """A parameter that is not known here; how to take that is the client's preference."""


# Of tokens; a uri's `:above` and `:below` are of its text.
_TERMINOLOGICAL: Final = ("in", "not-in", "above", "below")
_UNKNOWN: Final = "a parameter that the type does not have was left out"


class _Values:
    """Names and values of parameters become filters."""

    def __init__(self, place: Place) -> None:
        self._base, self._now, self._terminology = place
        self._count = 0

    def filter(self, kind: str, name: str, value: str, links: int = 0) -> Filter:
        if links > CHAIN_LINKS_MAX:
            raise ParameterError(f"a chain has {CHAIN_LINKS_MAX} links at most")
        if name.startswith("_has:"):
            return self._has(name, value, links)
        head, dot, rest = name.partition(".")
        code, _, modifier = head.partition(":")
        row = parameters(kind).get(code)
        if row is None:
            raise _UnknownError(_UNKNOWN)
        if dot:
            return self._chain(row, modifier, rest, value, links)
        return self._plain(row, modifier, value)

    def _has(self, name: str, value: str, links: int) -> Filter:
        """`_has:Observation:patient:code`: those to which such a resource refers."""
        parts = name.split(":", 3)
        row = parameters(parts[1]).get(parts[2]) if len(parts) == 4 and parts[1] in KINDS else None
        if row is None or row.kind != "reference":
            raise ParameterError("`_has` is _has:Type:reference-parameter:parameter")
        return Has(parts[1], row.key, self.filter(parts[1], parts[3], value, links + 1))

    def _chain(self, row: Parameter, target: str, rest: str, value: str, links: int) -> Filter:
        if row.kind != "reference":
            raise ParameterError("only a reference can be chained")
        targets = [target] if target else [one for one in row.targets if one in KINDS]
        if not targets or not KINDS.issuperset(targets):
            raise ParameterError("a chain through this reference names a type: parameter:Type.name")
        found: list[Filter] = []
        for kind in targets:
            try:
                found.append(Chain(row.key, kind, self.filter(kind, rest, value, links + 1)))
            except _UnknownError:
                continue  # Of several types a few have the parameter.
        if not found:
            raise _UnknownError(_UNKNOWN)
        return AnyOf(tuple(found))

    def _plain(self, row: Parameter, modifier: str, value: str) -> Filter:
        is_type = row.kind == "reference" and modifier in KINDS
        if modifier and not is_type and modifier not in MODIFIERS[row.kind]:
            raise ParameterError((Issue("not-supported", "the parameter lacks this modifier"),))
        if modifier == "missing":
            return _missing(row, value)
        texts = [one for one in split_escaped(value, ",") if one]
        self._count += len(texts)
        if not texts or self._count > SEARCH_VALUES_MAX:
            raise ParameterError(f"a search has {SEARCH_VALUES_MAX} values at most, none empty")
        if row.kind == "token" and modifier in _TERMINOLOGICAL:
            return self._of_codes(row, modifier, texts)
        if row.code == "_id":
            found: Filter = Ids(tuple(unescape(text) for text in texts))
        else:
            known = None if modifier in ("", "not") else modifier
            found = AnyOf(tuple(self._one(row, known, text) for text in texts))
        return Not(found) if modifier == "not" else found

    def _of_codes(self, row: Parameter, modifier: str, texts: list[str]) -> Filter:
        """Return the filter of the codes that a ValueSet or a CodeSystem gives."""
        known = self._terminology
        if known is None:
            raise ParameterError((Issue("not-supported", "nothing is known of codes here"),))
        found: list[Code] = []
        for text in texts:
            is_named = modifier in ("in", "not-in")
            found += known.inside(unescape(text)) if is_named else known.around(modifier, text)
        self._count += len(found)
        if self._count > SEARCH_VALUES_MAX:
            raise ParameterError(f"a search has {SEARCH_VALUES_MAX} values at most")
        matches = [Match(row.key, row.kind, token.Value(*code)) for code in found]
        either = AnyOf(tuple(matches))
        return Not(either) if modifier == "not-in" else either

    def _one(self, row: Parameter, modifier: str | None, text: str) -> Filter:
        if row.code == "_lastUpdated":
            return Updated(date.parse(text, self._now))
        if row.components:
            texts = split_escaped(text, "$")
            if len(texts) != len(row.components):
                raise ParameterError("a composite value has its parts between `$`")
            pairs = zip(row.components, texts, strict=True)
            parts = tuple((one.kind, self._value(one.kind, None, part)) for one, part in pairs)
            return Together(row.key, parts)
        return Match(row.key, row.kind, self._value(row.kind, modifier, text))

    def _value(self, kind: str, modifier: str | None, text: str) -> Any:
        match kind:
            case "token":
                return token.parse(text, modifier)
            case "reference":
                return self._reference(text, modifier)
            case "string":
                return string.parse(text, modifier)
            case "uri":
                return uri.parse(text, modifier)
            case "date":
                return date.parse(text, self._now)
            case _:
                return amount.parse(text)

    def _reference(self, text: str, modifier: str | None) -> Any:
        if modifier == "identifier":
            return IdentifierValue(token.parse(text, None))
        found = reference.parse(text, modifier, self._base)
        if isinstance(found, reference.Value) and found.base is None:
            return LocalValue(found.type, found.id, found.version)
        return found


def _missing(row: Parameter, value: str) -> Filter:
    if value not in ("true", "false"):
        raise ParameterError("`:missing` is true or false")
    present: Filter = AllOf(())
    if not row.is_stored:
        key, kind = row.key, row.kind
        if row.components:
            key, kind = f"{row.key}.0", row.components[0].kind
        present = Present(key, kind)
    return Not(present) if value == "true" else present
