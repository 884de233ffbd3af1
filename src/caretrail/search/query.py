"""Parsing a search (FHIR R4, search; IHE ITI-81): names, modifiers, values and result parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from caretrail.errors import Issue, ParameterError
from caretrail.limits import SEARCH_COUNT_DEFAULT, SEARCH_VALUES_MAX
from caretrail.search import date, number, reference, string, text, token, uri
from caretrail.search.parameters import BY_CODE, SearchParameter, Type
from caretrail.search.result_parameters import ResultParameters
from caretrail.search.syntax import split_escaped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from caretrail.search.term import Node


class Value(Protocol):
    """One value of a parameter, ready to be compared; values of a few types are found otherwise."""

    def matches(self, elements: Any) -> bool:
        """Tell whether any of the elements fits."""


class IndexedValue(Value, Protocol):
    """A value that the terms of the index answer."""

    def node(self, key: str) -> Node:
        """Return the expression of terms."""

    @property
    def exact(self) -> bool:
        """Tell whether the expression alone decides."""


class Clause(NamedTuple):
    """One parameter of a search: any of `values` has to fit, or with `negated` none.

    `missing` is the value of the modifier `:missing`, with which there are no values.
    """

    parameter: SearchParameter
    values: tuple[Any, ...]
    negated: bool = False
    missing: bool | None = None
    reference: Chain | None = None


class Chain(NamedTuple):
    """How the identifiers of a reference are asked for.

    `own` leaves out those of contained resources, `kind` wants references to one resource type.
    """

    parameter: SearchParameter
    own: bool = False
    kind: str | None = None


class Sort(NamedTuple):
    """One key of the order of a search's results."""

    parameter: SearchParameter
    descending: bool


@dataclass(frozen=True, slots=True)
class Query:
    """A search, checked.

    `within` is what its asker may see at all: an event that does not fit it is not there, for
    whatever the search counts, sorts or includes. `binding` is one text for that, to which page
    links are bound.
    """

    clauses: tuple[Clause, ...] = ()
    sort: tuple[Sort, ...] = ()
    count: int = SEARCH_COUNT_DEFAULT
    total: str | None = None
    summary: str | None = None
    elements: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    revinclude: tuple[str, ...] = ()
    page: str | None = None
    applied: tuple[tuple[str, str], ...] = ()
    ignored: tuple[Issue, ...] = ()
    within: tuple[Clause, ...] = ()
    binding: str = ""


_TOTALS: Final = ("none", "estimate", "accurate")
_SUMMARIES: Final = ("true", "text", "data", "count", "false")
_INCLUDES: Final = ("AuditEvent:entity", "AuditEvent:*", "*")
# Handled by content negotiation, before the search is read.
_ELSEWHERE: Final = ("_format", "_pretty", "_outputFormat")


def parse(pairs: Sequence[tuple[str, str]], *, strict: bool, base: str, now: int = 0) -> Query:
    """Return the search that the pairs of names and values say.

    `base` is the URL under which this repository is known, `now` is in milliseconds since 1970.
    A parameter that is not known is left out, and named in `ignored`; with `strict` it is an
    error. A value, prefix or modifier that cannot be used is always one. Raises ParameterError.
    """
    return _Parser(strict=strict, base=base, now=now).parse(pairs)


class _Parser(ResultParameters):
    def __init__(self, *, strict: bool, base: str, now: int) -> None:
        super().__init__(strict=strict)
        self._base, self._now = base.rstrip("/"), now
        self._clauses: list[Clause] = []
        self._values = 0

    def parse(self, pairs: Sequence[tuple[str, str]]) -> Query:
        problems: list[Issue] = []
        for name, value in pairs:
            try:
                self._add(name, value)
            except ParameterError as error:
                # An unknown name is the sender's own text, and is not repeated.
                known = name.partition(":")[0]
                place = known if known in BY_CODE or known in _CONTROLS else ""
                problems += (row._replace(expression=place) for row in error.issues())
        if problems:
            raise ParameterError(problems)
        results = self.results()
        if self._control.get("include") and self._control.get("summary") == "text":
            raise ParameterError("`_include` cannot be combined with `_summary=text`")
        return Query(clauses=tuple(self._clauses), **results)

    def _add(self, name: str, value: str) -> None:
        if name in _ELSEWHERE:
            return
        control = _CONTROLS.get(name.partition(":")[0])
        if control is not None:
            control(self, name, value)
            return
        clause = self._clause(name, value)
        if clause is not None:
            self._clauses.append(clause)
            self._applied.append((name, value))

    def _clause(self, name: str, value: str) -> Clause | None:
        parameter, modifier, chain = _named(name)
        if parameter is None:
            # The name is the sender's own text: it is not repeated, only its place is told.
            self.unknown("a parameter that AuditEvent does not have was left out")
            return None
        if not value:
            return None  # FHIR: a parameter without a value is ignored.
        if modifier == "missing":
            if value not in ("true", "false"):
                raise ParameterError("`:missing` is true or false")
            return Clause(parameter, (), missing=value == "true")
        negated = modifier == "not"
        parse_value = self._reader(parameter, None if negated else modifier)
        values = tuple(parse_value(one) for one in split_escaped(value, ",") if one)
        self._values += len(values)
        if not values or self._values > SEARCH_VALUES_MAX:
            raise ParameterError(
                f"a search has one value a parameter and {SEARCH_VALUES_MAX} in all"
            )
        return Clause(parameter, values, negated, reference=chain)

    def _reader(self, parameter: SearchParameter, modifier: str | None) -> Callable[[str], Any]:
        match parameter.type:
            case Type.TOKEN:
                return lambda value: token.parse(value, modifier)
            case Type.REFERENCE:
                return lambda value: reference.parse(value, modifier, self._base)
            case Type.STRING:
                return lambda value: string.parse(value, modifier)
            case Type.URI:
                return lambda value: uri.parse(value, modifier)
            case Type.DATE:
                return lambda value: date.parse(value, self._now)
            case Type.NUMBER:
                return number.parse
            case _:
                return text.parse

    def read_sort(self, name: str, value: str) -> None:
        keys = []
        for part in value.split(","):
            parameter = BY_CODE.get(part.strip().removeprefix("-"))
            if parameter is None or parameter.type is Type.SPECIAL:
                self.unknown("a sort key that AuditEvent does not have was left out")
            else:
                keys.append(Sort(parameter, part.strip().startswith("-")))
        if keys:
            self._control["sort"] = (*self._control.get("sort", ()), *keys)
            spelt = ",".join("-" * key.descending + key.parameter.code for key in keys)
            self._applied.append((name, spelt))

    def read_choice(self, field: str, choices: Iterable[str]) -> Callable[[str, str], None]:
        def read(name: str, value: str) -> None:
            if value not in choices:
                raise ParameterError(f"`{field}` is one of {', '.join(choices)}")
            self._control[field] = value
            self._applied.append((name, value))

        return read

    def read_elements(self, name: str, value: str) -> None:
        names = tuple(
            part.strip().removeprefix("AuditEvent.") for part in value.split(",") if part.strip()
        )
        if not names:
            return
        self._control["elements"] = (*self._control.get("elements", ()), *names)
        self._applied.append((name, value))

    def read_include(self, name: str, value: str) -> None:
        field = name.partition(":")[0].removeprefix("_")
        if value.removesuffix(":AuditEvent") not in _INCLUDES:
            self.unknown("an include of resources that are not kept here was left out")
            return
        self._control[field] = (*self._control.get(field, ()), value)
        self._applied.append((name, value))


_CONTROLS: Final[dict[str, Callable[[_Parser, str, str], None]]] = {
    "_count": _Parser.read_count,
    "_sort": _Parser.read_sort,
    "_total": lambda parser, name, value: parser.read_choice("total", _TOTALS)(name, value),
    "_summary": lambda parser, name, value: parser.read_choice("summary", _SUMMARIES)(name, value),
    "_elements": _Parser.read_elements,
    "_include": _Parser.read_include,
    "_revinclude": _Parser.read_include,
    "_page": _Parser.read_page,
}


def _named(name: str) -> tuple[SearchParameter | None, str | None, Chain | None]:
    """Return the parameter, modifier and chain that a name says.

    `X:identifier` and `X:Type.identifier` ask the codes of `X.identifier`, in their own way.
    """
    code, colon, modifier = name.partition(":")
    parameter = BY_CODE.get(code)
    if parameter is None or not colon:
        return parameter, None, None
    identifier = BY_CODE.get(code + ".identifier")
    if identifier is not None and modifier == "identifier":
        return identifier, None, Chain(parameter, own=True)
    kind, dot, rest = modifier.partition(".")
    if identifier is not None and rest == "identifier" and _may_be(parameter, kind):
        return identifier, None, Chain(parameter, kind=kind)
    if dot:
        return None, None, None
    if modifier in parameter.modifiers or _may_be(parameter, modifier):
        return parameter, modifier, None
    raise ParameterError((Issue("not-supported", f"`{code}` does not have this modifier"),))


def _may_be(parameter: SearchParameter, kind: str) -> bool:
    """Tell whether a reference parameter's target may be of that resource type."""
    if parameter.type is not Type.REFERENCE or not reference.is_type(kind):
        return False
    return not parameter.targets or kind in parameter.targets
