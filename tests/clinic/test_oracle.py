"""The index finds what a plain look at every resource by the same value types finds."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caretrail.clinic import SqliteClinic, indexing, query, resource
from caretrail.clinic.contract import Search, Version
from caretrail.clinic.filters import (
    AllOf,
    AnyOf,
    Chain,
    Has,
    Ids,
    Match,
    Not,
    One,
    Present,
    Together,
    Updated,
)
from caretrail.clinic.query import Place
from caretrail.errors import ParameterError
from caretrail.search import date
from caretrail.search.reference import literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from caretrail.clinic.contract import Hit

BASE = "http://clinic.test/fhir"
NOW = 1_772_600_000_000
COUNT = 120
WORDS = ("Mock", "Mockley", "Åse", "ase", "Dummyson", "Test-Ström", "x")
SYSTEMS = ("urn:a", "urn:b", None)
CODES = ("1", "2", "final", "amended", "female", "male")
UNITS = (("urn:u", "mg"), ("urn:u", "g"), (None, "mg"))
NUMBERS = (0, 1, 1.5, 1.54, 1.55, 72, 100, -3.25)
DAYS = (
    "2026",
    "2026-03",
    "2026-03-04",
    "2026-03-04T05:06:07Z",
    "2026-03-04T05:06:07.123Z",
    "1970-01-01",
    "2026-12-31",
)
URIS = (
    "http://e.org/fhir/ValueSet/a",
    "http://e.org/fhir/ValueSet/a/b",
    "http://e.org/fhir",
    "urn:oid:1.2",
    "http://e.org/fhir/ValueSet/a|2",
)


class Kept(NamedTuple):
    """A resource in memory: its elements by key, those of composites by part."""

    kind: str
    id: str
    updated: int
    elements: dict[str, list[Any]]
    parts: dict[str, dict[int, list[Any]]]


def _concept(r: Random) -> dict[str, Any]:
    codings = [
        {
            k: v
            for k, v in (
                ("system", r.choice(SYSTEMS)),
                ("code", r.choice(CODES)),
                ("display", r.choice(WORDS)),
            )
            if v
        }
        for _ in range(r.randint(1, 2))
    ]
    return {"coding": codings} if r.random() < 0.8 else {"text": r.choice(WORDS)}


def _quantity(r: Random) -> dict[str, Any]:
    system, code = r.choice(UNITS)
    found: dict[str, Any] = {"value": r.choice(NUMBERS), "code": code, "unit": "mg"}
    if system:
        found["system"] = system
    if r.random() < 0.1:
        found["comparator"] = r.choice(("<", "<=", ">", ">="))
    return found


def _reference(r: Random, kind: str) -> dict[str, Any]:
    target = f"{kind}/{r.randint(0, COUNT // 3)}"
    match r.randint(0, 5):
        case 0:
            return {"reference": f"http://other.test/fhir/{target}"}
        case 1:
            return {"reference": f"{BASE}/{target}", "display": r.choice(WORDS)}
        case 2:
            return {"identifier": {"system": "urn:a", "value": r.choice(CODES)}}
        case 3:
            return {"reference": f"{target}/_history/1"}
        case _:
            return {"reference": target}


def _period(r: Random) -> dict[str, str]:
    days = sorted(r.sample(DAYS[2:], 2))
    return {name: day for name, day in zip(("start", "end"), days, strict=True) if r.random() < 0.7}


def _meta(r: Random) -> dict[str, Any]:
    return {"tag": [{"code": r.choice(CODES)}], "profile": [r.choice(URIS)]}


def _patient(r: Random) -> dict[str, Any]:
    names = [
        {"family": r.choice(WORDS), "given": r.sample(WORDS, 2)} for _ in range(r.randint(0, 2))
    ]
    numbers = [
        {"system": r.choice(SYSTEMS) or "urn:c", "value": r.choice(CODES), "type": _concept(r)}
        for _ in range(r.randint(0, 2))
    ]
    found = {
        "name": names, "identifier": numbers, "gender": r.choice(("female", "male", "")),
        "birthDate": r.choice((*DAYS[:3], "")), "meta": _meta(r),
        "managingOrganization": _reference(r, "Organization") if r.random() < 0.5 else {},
    }  # fmt: skip
    return {name: value for name, value in found.items() if value}


def _observation(r: Random) -> dict[str, Any]:
    found: dict[str, Any] = {"status": r.choice(("final", "amended")), "code": _concept(r)}
    if r.random() < 0.8:
        found["subject"] = _reference(r, "Patient")
    match r.randint(0, 3):
        case 0:
            found["valueQuantity"] = _quantity(r)
        case 1:
            found["valueCodeableConcept"] = _concept(r)
        case 2:
            found["component"] = [
                {"code": _concept(r), "valueQuantity": _quantity(r)} for _ in range(2)
            ]
    if r.random() < 0.5:
        found["effectiveDateTime"] = r.choice(DAYS)
    elif period := _period(r):
        found["effectivePeriod"] = period
    return found


def _value_set(r: Random) -> dict[str, Any]:
    return {"status": "active", "url": r.choice(URIS), "title": r.choice(WORDS)}


MAKERS: dict[str, Callable[[Random], dict[str, Any]]] = {
    "Patient": _patient,
    "Observation": _observation,
    "ValueSet": _value_set,
}


class World:
    """The same generated resources in a store and in memory."""

    def __init__(self, store: SqliteClinic, runner: asyncio.Runner) -> None:
        self.store, self.runner = store, runner
        self.kept: list[Kept] = []
        random = Random(7)
        made = []
        for number in range(COUNT):
            kind = list(MAKERS)[number % 3]
            tree = {"resourceType": kind, **MAKERS[kind](random)}
            updated = NOW + random.randint(-10, 10) * 86_400_000
            name = str(number // 3)
            body = resource.stamped(tree, name=name, number=1, updated=updated)
            rows = indexing.rows(resource.checked(body), base=BASE)
            made.append((Version(kind, name, 1, updated, "PUT", body), rows))
            self.kept.append(_kept(made[-1][0], rows))
        runner.run(store.write(lambda session: [session.put(*one) for one in made]))

    def hits(self, search: Search) -> list[Hit]:
        return self.runner.run(self.store.read(lambda session: session.search(search)))

    def by_index(self, search: Search) -> list[str]:
        hits = self.hits(search)
        count = self.runner.run(self.store.read(lambda session: session.count(search)))
        assert search.limit < COUNT or count == len(hits)
        return [f"{hit.version.kind}/{hit.version.id}" for hit in hits]

    def by_looking(self, kind: str, wanted: Any) -> list[str]:
        return [
            f"{one.kind}/{one.id}"
            for one in self.kept
            if one.kind == kind and self.fits(one, wanted)
        ]

    def fits(self, one: Kept, wanted: Any) -> bool:
        match wanted:
            case AllOf(filters):
                return all(self.fits(one, each) for each in filters)
            case AnyOf(filters):
                return any(self.fits(one, each) for each in filters)
            case Not(each):
                return not self.fits(one, each)
            case Ids(ids):
                return one.id in ids
            case One(kind, name):
                return (one.kind, one.id) == (kind, name)
            case Updated(value):
                return value.fits(one.updated * 1_000_000, (one.updated + 1) * 1_000_000)
            case Present(key, _):
                return bool(one.elements[key])
            case Match(key, _, value):
                return _matches(value, one.elements[key])
            case Together(key, parts):
                columns = [one.parts[f"{key}.{n}"] for n in range(len(parts))]
                return any(
                    all(
                        _matches(value, column[part])
                        for column, (_, value) in zip(columns, parts, strict=True)
                    )
                    for part in list(columns[0])
                )
            case Chain(key, target, each):
                return any(
                    self.fits(other, each)
                    for other in self._targets(one, key)
                    if other.kind == target
                )
            case Has(source, key, each):
                return any(
                    one in self._targets(other, key) and self.fits(other, each)
                    for other in self.kept
                    if other.kind == source
                )
        raise AssertionError(wanted)

    def _targets(self, one: Kept, key: str) -> list[Kept]:
        named = [literal(ref.reference) for ref in one.elements[key] if ref.reference]
        local = {(part.type, part.id) for part in named if part is not None and part.base is None}
        return [other for other in self.kept if (other.kind, other.id) in local]


def _kept(version: Version, rows: Sequence[indexing.Row]) -> Kept:
    elements: dict[str, list[Any]] = defaultdict(list)
    parts: dict[str, dict[int, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        elements[row.key].append(row.element)
        parts[row.key][row.part].append(row.element)
    return Kept(version.kind, version.id, version.updated, elements, parts)


def _matches(value: Any, elements: list[Any]) -> bool:
    if isinstance(value, date.Value):
        return any(value.fits(*span) for span in elements)
    return bool(value.matches(elements))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    runner = asyncio.Runner()
    store = SqliteClinic(tmp_path_factory.mktemp("oracle"))
    yield World(store, runner)
    runner.run(store.close())
    runner.close()


PREFIXES = st.sampled_from(("", "eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap"))
TOKENS = st.one_of(
    st.sampled_from(CODES),
    st.builds(
        "{}|{}".format, st.sampled_from(("urn:a", "urn:b", "")), st.sampled_from((*CODES, ""))
    ),
)
STRINGS = st.sampled_from((*WORDS, "mo", "ström", "CK", "test"))
DATES = st.builds("{}{}".format, PREFIXES, st.sampled_from((*DAYS, "2026-03-04T05:06Z", "2025")))
AMOUNTS = st.builds(
    "{}{}{}".format,
    PREFIXES,
    st.sampled_from(("0", "1", "1.5", "1.54", "1.5e0", "72", "7e1", "100", "-3.25")),
    st.sampled_from(("", "|urn:u|mg", "||mg", "|urn:u|", "||g")),
)
REFERENCES = st.builds(
    "{}{}".format,
    st.sampled_from(
        ("", "Patient/", "Organization/", f"{BASE}/Patient/", "http://other.test/fhir/Patient/")
    ),
    st.integers(0, COUNT // 3),
)
MISSING = st.sampled_from(("true", "false"))
URI_VALUES = st.sampled_from(
    (*URIS, "http://e.org", "http://e.org/fhir/", "http://e.org/fhir/ValueSet/a/b/c?d#e")
)


def _pairs(
    names: Sequence[str], values: st.SearchStrategy[str]
) -> st.SearchStrategy[tuple[str, str]]:
    several = st.lists(values, min_size=1, max_size=3).map(",".join)
    return st.tuples(st.sampled_from(names), several)


COMMON = (
    _pairs(("_id",), st.integers(0, COUNT // 3).map(str)),
    _pairs(("_lastUpdated",), DATES),
)
PAIRS = {
    "Patient": st.one_of(
        *COMMON,
        _pairs(("name", "family:contains", "given:exact", "given"), STRINGS),
        _pairs(("identifier", "identifier:not", "gender", "gender:not", "_tag"), TOKENS),
        _pairs(("identifier:text",), STRINGS),
        _pairs(("identifier:of-type",), st.sampled_from(("urn:a|1|2", "urn:b|final|1", "urn:a|2|2"))),
        _pairs(("birthdate",), DATES),
        _pairs(("organization", "organization:Organization"), REFERENCES),
        _pairs(("organization:identifier",), TOKENS),
        _pairs(("organization:text",), STRINGS),
        _pairs(("_profile", "_profile:below", "_profile:above"), URI_VALUES),
        st.tuples(st.sampled_from(("name:missing", "gender:missing", "organization:missing")), MISSING),
        _pairs(("_has:Observation:patient:code", "_has:Observation:subject:status:not"), TOKENS),
        _pairs(("_has:Observation:subject:date",), DATES),
    ),
    "Observation": st.one_of(
        *COMMON,
        _pairs(("code", "code:not", "combo-code", "value-concept", "status"), TOKENS),
        _pairs(("code:text",), STRINGS),
        _pairs(("date",), DATES),
        _pairs(("value-quantity", "combo-value-quantity"), AMOUNTS),
        _pairs(("subject", "patient", "subject:Patient"), REFERENCES),
        _pairs(("subject:Patient.name", "patient.family", "subject.name:contains"), STRINGS),
        _pairs(("patient.birthdate",), DATES),
        _pairs(("patient.organization:identifier",), TOKENS),
        _pairs(("code-value-quantity", "component-code-value-quantity", "combo-code-value-quantity"),
               st.builds("{}${}".format, TOKENS, AMOUNTS)),
        _pairs(("code-value-concept",), st.builds("{}${}".format, TOKENS, TOKENS)),
        st.tuples(st.sampled_from(("date:missing", "value-quantity:missing", "code-value-quantity:missing")), MISSING),
    ),
    "ValueSet": st.one_of(
        *COMMON,
        _pairs(("url", "url:below", "url:above"), URI_VALUES),
        _pairs(("title", "title:contains", "title:exact"), STRINGS),
    ),
}  # fmt: skip
SEARCHES = st.sampled_from(sorted(PAIRS)).flatmap(
    lambda kind: st.tuples(st.just(kind), st.lists(PAIRS[kind], min_size=1, max_size=2))
)


@settings(max_examples=600, deadline=None)
@given(search=SEARCHES)
def test_the_index_finds_what_looking_finds(
    world: World, search: tuple[str, list[tuple[str, str]]]
) -> None:
    kind, pairs = search
    try:
        found = query.parse(pairs, [kind], strict=True, place=Place(BASE, NOW))
    except ParameterError:
        return  # Of the type that a modifier does not allow; nothing is searched.
    got = world.by_index(Search((kind,), found.filter, limit=COUNT))
    assert sorted(got) == sorted(world.by_looking(kind, found.filter))


SORTS = {
    "Patient": (
        "name",
        "birthdate",
        "identifier",
        "organization",
        "_id",
        "_lastUpdated",
        "_profile",
    ),
    "Observation": ("date", "value-quantity", "code", "subject", "_lastUpdated"),
    "ValueSet": ("url", "title"),
}


@settings(max_examples=60, deadline=None)
@given(data=st.data(), count=st.integers(1, 17))
def test_pages_together_are_the_whole_in_one_order(world: World, data: Any, count: int) -> None:
    kind = data.draw(st.sampled_from(sorted(SORTS)))
    keys = st.tuples(st.sampled_from(("", "-")), st.sampled_from(SORTS[kind])).map("".join)
    text = ",".join(data.draw(st.lists(keys, max_size=3)))
    pairs = [("_sort", text)] if text else []
    found = query.parse(pairs, [kind], strict=True, place=Place(BASE, NOW))
    whole = Search((kind,), found.filter, found.sort, COUNT)
    pages: list[str] = []
    search = whole._replace(limit=count)
    while True:
        hits = world.hits(search)
        pages += [f"{hit.version.kind}/{hit.version.id}" for hit in hits]
        if len(hits) < count:
            break
        # A place goes through JSON on its way into a link and back.
        search = search._replace(after=tuple(json.loads(json.dumps(hits[-1].place))))
    assert pages == world.by_index(whole)
    assert len(pages) == COUNT // 3
