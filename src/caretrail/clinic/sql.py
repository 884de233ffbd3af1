"""Filters as SQL: plain joins over the index tables, in words that other databases have as well."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from caretrail.clinic import amount
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
    One,
    Present,
    Together,
    Updated,
)
from caretrail.search import date, reference, string, token, uri

if TYPE_CHECKING:
    from collections.abc import Callable

    from caretrail.clinic.contract import Search, SortKey

TABLES: Final = {
    "token": "token_index",
    "reference": "reference_index",
    "string": "string_index",
    "uri": "uri_index",
    "date": "date_index",
    "number": "amount_index",
    "quantity": "amount_index",
}
# Greater than every text: the last code point there is.
_LAST: Final = "\U0010ffff"
_LATEST: Final = 2**62 + 1
_GREATEST: Final = 1.7e308
_PART_END: Final = re.compile(r"[/?#]")
_NANOSECONDS: Final = 1_000  # The index keeps microseconds: 63 bits hold every year of FHIR so.
# What orders by a kind: a column, and what stands for a resource without one, which comes last.
_ORDER: Final[dict[str, tuple[str, str, Any, Any]]] = {
    "token": ("code", "code", _LAST, ""),
    "reference": ("name", "name", _LAST, ""),
    "string": ("folded", "folded", _LAST, ""),
    "uri": ("uri", "uri", _LAST, ""),
    "date": ("first", "last", _LATEST, -_LATEST),
    "number": ("low", "high", _GREATEST, -_GREATEST),
    "quantity": ("low", "high", _GREATEST, -_GREATEST),
}
_OWN: Final = {"_id": "id", "_lastUpdated": "updated"}


class Statement:
    """SQL that grows, and its parameters in order."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._aliases = 0

    def value(self, value: Any) -> str:
        """Take a value, and return what stands for it."""
        self.values.append(value)
        return f"?{len(self.values)}"

    def alias(self) -> str:
        """Return a name that no other table of the statement has."""
        self._aliases += 1
        return f"t{self._aliases}"

    def page(self, search: Search) -> str:
        """Return the statement of one page: the columns of versions, then those of the place."""
        keys = [f"{self._sort(key)} AS k{n}" for n, key in enumerate(search.sort)]
        columns = ", ".join(["r.row", "r.seq", *keys])
        inner = f"SELECT {columns} FROM resource r WHERE {self.where(search)}"
        names = [*(f"p.k{n}" for n in range(len(search.sort))), "p.row"]
        down = [*(key.descending for key in search.sort), True]
        text = (
            "SELECT v.kind, v.id, v.number, v.updated, v.method, v.body, p.row"
            f"{''.join(f', {name}' for name in names)}"
            f" FROM ({inner}) p JOIN version v ON v.seq = p.seq"
        )
        if search.after is not None:
            text += f" WHERE {self._after(names, down, search.after)}"
        order = ", ".join(
            f"{name} {'DESC' if d else 'ASC'}" for name, d in zip(names, down, strict=True)
        )
        return f"{text} ORDER BY {order} LIMIT {self.value(search.limit)}"

    def where(self, search: Search) -> str:
        """Return the condition on a resource `r` that it is there, of the types, and fits."""
        text = "r.deleted = 0"
        if search.kinds:
            kinds = ", ".join(self.value(kind) for kind in search.kinds)
            text += f" AND r.kind IN ({kinds})"
        return f"{text} AND {self.condition(search.filter, 'r')}"

    def condition(self, wanted: Filter, r: str) -> str:
        """Return the condition on the resource with alias `r`."""
        make: Callable[[Statement, Any, str], str] = _CONDITIONS[type(wanted)]
        return make(self, wanted, r)

    def _sort(self, key: SortKey) -> str:
        if key.key in _OWN:
            return f"r.{_OWN[key.key]}"
        low, high, last, first = _ORDER[key.kind]
        chosen = f"MAX({high})" if key.descending else f"MIN({low})"
        absent = self.value(first if key.descending else last)
        return (
            f"COALESCE((SELECT {chosen} FROM {TABLES[key.kind]} x WHERE x.resource = r.row"
            f" AND x.key = {self.value(key.key)}), {absent})"
        )

    def _after(self, names: list[str], down: list[bool], place: tuple[Any, ...]) -> str:
        values = [self.value(one) for one in place]
        either = []
        for n, name in enumerate(names):
            same = [f"{names[m]} = {values[m]}" for m in range(n)]
            either.append(" AND ".join([*same, f"{name} {'<' if down[n] else '>'} {values[n]}"]))
        return "(" + " OR ".join(f"({one})" for one in either) + ")"

    def match(self, wanted: Match, r: str) -> str:
        """Return the condition of one value of one parameter."""
        x = self.alias()
        return (
            f"{r}.row IN (SELECT {x}.resource FROM {TABLES[wanted.kind]} {x}"
            f" WHERE {x}.key = {self.value(wanted.key)} AND {self.fits(wanted.value, x)})"
        )

    def present(self, wanted: Present, r: str) -> str:
        """Return the condition that a parameter has any element."""
        x = self.alias()
        key = self.value(wanted.key)
        table = TABLES[wanted.kind]
        return f"{r}.row IN (SELECT {x}.resource FROM {table} {x} WHERE {x}.key = {key})"

    def together(self, wanted: Together, r: str) -> str:
        """Return the condition of a composite: its components are of one part of the resource."""
        aliases = [self.alias() for _ in wanted.parts]
        first, *others = aliases
        tables, conditions = [], []
        for number, (x, (kind, value)) in enumerate(zip(aliases, wanted.parts, strict=True)):
            tables.append(f"{TABLES[kind]} {x}")
            conditions.append(f"{x}.key = {self.value(f'{wanted.key}.{number}')}")
            conditions.append(self.fits(value, x))
        conditions += (
            f"{x}.resource = {first}.resource AND {x}.part = {first}.part" for x in others
        )
        return (
            f"{r}.row IN (SELECT {first}.resource FROM {', '.join(tables)}"
            f" WHERE {' AND '.join(conditions)})"
        )

    def chain(self, wanted: Chain, r: str) -> str:
        """Return the condition on what a resource refers to."""
        x, t = self.alias(), self.alias()
        return (
            f"{r}.row IN (SELECT {x}.resource FROM reference_index {x} JOIN resource {t}"
            f" ON {t}.kind = {x}.kind AND {t}.id = {x}.name"
            f" WHERE {x}.key = {self.value(wanted.key)} AND {x}.base IS NULL"
            f" AND {x}.kind = {self.value(wanted.target)} AND {t}.deleted = 0"
            f" AND {self.condition(wanted.filter, t)})"
        )

    def has(self, wanted: Has, r: str) -> str:
        """Return the condition on what refers to a resource."""
        x, s = self.alias(), self.alias()
        return (
            f"({r}.kind, {r}.id) IN (SELECT {x}.kind, {x}.name FROM reference_index {x}"
            f" JOIN resource {s} ON {s}.row = {x}.resource"
            f" WHERE {x}.key = {self.value(wanted.key)} AND {x}.base IS NULL"
            f" AND {s}.kind = {self.value(wanted.source)} AND {self.condition(wanted.filter, s)})"
        )

    def fits(self, value: Any, x: str) -> str:
        """Return the condition that the index row with alias `x` fits a value."""
        make: Callable[[Statement, Any, str], str] = _VALUES[type(value)]
        return f"({make(self, value, x)})"

    def begins(self, column: str, start: str) -> str:
        """Return the condition that a text begins so."""
        return f"{column} >= {self.value(start)} AND {column} < {self.value(start + _LAST)}"


def _all(s: Statement, wanted: AllOf, r: str) -> str:
    return "(" + (" AND ".join(s.condition(one, r) for one in wanted.filters) or "1 = 1") + ")"


def _any(s: Statement, wanted: AnyOf, r: str) -> str:
    return "(" + (" OR ".join(s.condition(one, r) for one in wanted.filters) or "1 = 0") + ")"


def _ids(s: Statement, wanted: Ids, r: str) -> str:
    return f"{r}.id IN ({', '.join(s.value(one) for one in wanted.ids)})"


def _one(s: Statement, wanted: One, r: str) -> str:
    return f"({r}.kind = {s.value(wanted.kind)} AND {r}.id = {s.value(wanted.id)})"


def _updated(s: Statement, wanted: Updated, r: str) -> str:
    # A version is of one millisecond.
    first = f"{r}.updated * 1000"
    return "(" + _date_fits(s, wanted.value, first, f"({r}.updated + 1) * 1000") + ")"


def _code(s: Statement, value: token.Value, x: str) -> str:
    conditions = ["1 = 1"]
    if value.code:
        conditions.append(f"{x}.code = {s.value(value.code)}")
    if value.system == "":
        conditions.append(f"{x}.system IS NULL")
    elif value.system is not None:
        conditions.append(f"{x}.system = {s.value(value.system)}")
    return " AND ".join(conditions)


def _of_type(s: Statement, value: token.OfTypeValue, x: str) -> str:
    kind = s.value(f"{value.system}|{value.kind}")
    return f"{x}.type = {kind} AND {x}.code = {s.value(value.value)}"


def _local(s: Statement, value: LocalValue, x: str) -> str:
    text = f"{x}.base IS NULL AND {x}.name = {s.value(value.id)}"
    if value.type is not None:
        text += f" AND {x}.kind = {s.value(value.type)}"
    return text + (f" AND {x}.version = {s.value(value.version)}" if value.version else "")


def _elsewhere(s: Statement, value: reference.Value, x: str) -> str:
    text = f"{x}.base = {s.value(value.base)} AND {x}.name = {s.value(value.id)}"
    text += f" AND {x}.kind = {s.value(value.type)}"
    return text + (f" AND {x}.version = {s.value(value.version)}" if value.version else "")


def _identified(s: Statement, value: IdentifierValue, x: str) -> str:
    wanted = value.value
    conditions = [f"{x}.identifier IS NOT NULL"]
    if wanted.code:
        conditions.append(f"{x}.identifier = {s.value(wanted.code)}")
    if wanted.system == "":
        conditions.append(f"{x}.system IS NULL")
    elif wanted.system is not None:
        conditions.append(f"{x}.system = {s.value(wanted.system)}")
    return " AND ".join(conditions)


def _uri(s: Statement, value: uri.Value, x: str) -> str:
    text = f"{x}.uri = {s.value(value.uri)}"
    # A canonical's version may follow, and "}" comes right after "|".
    if "|" in value.uri:
        return text
    start, end = s.value(f"{value.uri}|"), s.value(f"{value.uri}}}")
    return f"{text} OR ({x}.uri >= {start} AND {x}.uri < {end})"


def _below(s: Statement, value: uri.BelowValue, x: str) -> str:
    column = f"{x}.uri"
    if value.uri[-1] in "/?#":
        return s.begins(column, value.uri)
    parts = [f"({s.begins(column, value.uri + end)})" for end in "/?#"]
    return " OR ".join([f"{column} = {s.value(value.uri)}", *parts])


def _above(s: Statement, value: uri.AboveValue, x: str) -> str:
    ends = {found.start() for found in _PART_END.finditer(value.uri)}
    ends |= {end + 1 for end in ends} | {len(value.uri)}
    parents = ", ".join(s.value(value.uri[:end]) for end in sorted(ends) if end)
    return f"{x}.uri IN ({parents})"


def _date(s: Statement, value: date.Value, x: str) -> str:
    return _date_fits(s, value, f"{x}.first", f"{x}.last")


def _date_fits(s: Statement, value: date.Value, first: str, last: str) -> str:
    start, end = value.start // _NANOSECONDS, -(-value.end // _NANOSECONDS)
    match value.prefix:
        case "eq":
            return _inside(s, first, last, start, end)
        case "ne":
            return f"NOT ({_inside(s, first, last, start, end)})"
        case "gt":
            return f"{last} > {s.value(end)}"
        case "lt":
            return f"{first} < {s.value(start)}"
        case "ge":
            return f"({_inside(s, first, last, start, end)}) OR {last} > {s.value(end)}"
        case "le":
            return f"({_inside(s, first, last, start, end)}) OR {first} < {s.value(start)}"
        case "sa":
            return f"{first} >= {s.value(end)}"
        case "eb":
            return f"{last} <= {s.value(start)}"
        case _:
            return f"{first} < {s.value(end)} AND {last} > {s.value(start)}"


def _inside(s: Statement, first: str, last: str, start: int, end: int) -> str:
    return f"{first} >= {s.value(start)} AND {last} <= {s.value(end)}"


def _amount(s: Statement, value: amount.Value, x: str) -> str:
    conditions = [f"({_number(s, value, x)})"]
    if value.system is not None:
        conditions.append(f"{x}.system = {s.value(value.system)}")
    if value.code is not None:
        code = s.value(value.code)
        either = f"{x}.code = {code}"
        conditions.append(
            either if value.system is not None else f"({either} OR {x}.unit = {code})"
        )
    return " AND ".join(conditions)


def _number(s: Statement, value: amount.Value, x: str) -> str:
    match value.prefix:
        case "eq":
            return _equal(s, value, x)
        case "ne":
            return f"NOT ({_equal(s, value, x)})"
        case "gt":
            return f"{x}.high > {s.value(value.number)}"
        case "lt":
            return f"{x}.low < {s.value(value.number)}"
        case "ge":
            return f"{x}.high >= {s.value(value.number)}"
        case "le":
            return f"{x}.low <= {s.value(value.number)}"
        case "sa":
            return f"{x}.low > {s.value(value.number)}"
        case "eb":
            return f"{x}.high < {s.value(value.number)}"
        case _:
            return f"{x}.low <= {s.value(value.high)} AND {x}.high >= {s.value(value.low)}"


def _equal(s: Statement, value: amount.Value, x: str) -> str:
    return f"{x}.low >= {s.value(value.low)} AND {x}.high < {s.value(value.high)}"


_CONDITIONS: Final[dict[type, Callable[[Statement, Any, str], str]]] = {
    AllOf: _all,
    AnyOf: _any,
    Not: lambda s, wanted, r: f"NOT {s.condition(wanted.filter, r)}",
    Ids: _ids,
    One: _one,
    Updated: _updated,
    Match: Statement.match,
    Present: Statement.present,
    Together: Statement.together,
    Chain: Statement.chain,
    Has: Statement.has,
}
_VALUES: Final[dict[type, Callable[[Statement, Any, str], str]]] = {
    token.Value: _code,
    token.TextValue: lambda s, value, x: s.begins(f"{x}.folded", value.folded),
    token.OfTypeValue: _of_type,
    string.Value: lambda s, value, x: s.begins(f"{x}.folded", value.folded),
    string.ContainsValue: lambda s, value, x: f"instr({x}.folded, {s.value(value.folded)}) > 0",
    string.ExactValue: lambda s, value, x: f"{x}.text = {s.value(value.text)}",
    uri.Value: _uri,
    uri.BelowValue: _below,
    uri.AboveValue: _above,
    LocalValue: _local,
    reference.Value: _elsewhere,
    reference.OpaqueValue: lambda s, value, x: f"{x}.text = {s.value(value.text)}",
    reference.DisplayValue: lambda s, value, x: s.begins(f"{x}.folded", value.folded),
    IdentifierValue: _identified,
    date.Value: _date,
    amount.Value: _amount,
}
