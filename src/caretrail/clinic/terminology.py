"""What the ValueSets and CodeSystems that are kept here say of codes (FHIR R4, terminology module).

Only what a resource lists itself is answered: nothing is expanded by a filter or fetched from
elsewhere. What cannot be told is an error, as a search that left it out would find too little.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from caretrail.clinic.contract import Search
from caretrail.clinic.filters import AllOf, Filter, Match
from caretrail.clinic.parameters import parameters
from caretrail.errors import Issue, ParameterError
from caretrail.fhir import strict_json
from caretrail.limits import NESTING_DEPTH_MAX, SEARCH_VALUES_MAX
from caretrail.search import token, uri

if TYPE_CHECKING:
    from collections.abc import Iterator

    from caretrail.clinic.contract import Session

_LISTED: Final = "`:in` and `:not-in` need a ValueSet that is kept here and lists its codes"
_NESTED: Final = (
    "`:above` and `:below` need system|code, of a complete CodeSystem that is kept here"
)


class Code(NamedTuple):
    """A code of a system."""

    system: str
    code: str


class Terminology:
    """What one transaction of the store knows; each method raises ParameterError for what it does not."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def inside(self, name: str) -> list[Code]:
        """Return the codes of a ValueSet, named by `ValueSet/id` or by its canonical URL."""
        kind, _, rest = name.partition("/")
        if kind == "ValueSet":
            version = self._session.current(kind, rest)
            found = strict_json.read(version.body) if version and version.body else None
        else:
            found = self._canonical("ValueSet", name)
        if found is None:
            raise _unsupported(_LISTED)
        return _few(self._codes(found))

    def around(self, modifier: str, text: str) -> list[Code]:
        """Return a code with all `above` or `below` it, as its CodeSystem nests them."""
        wanted = token.parse(text, None)
        if not isinstance(wanted, token.Value) or not wanted.system or not wanted.code:
            raise _unsupported(_NESTED)
        every = self._nested(wanted.system)
        if every is None:
            raise _unsupported(_NESTED)
        found = [wanted.code]
        for code, path in every:
            if modifier == "below" and wanted.code in path:
                found.append(code)
            elif modifier == "above" and code == wanted.code:
                found += path
        return _few(Code(wanted.system, code) for code in dict.fromkeys(found))

    def _canonical(self, kind: str, name: str) -> dict[str, Any] | None:
        """Return the one resource with this URL, and the version if one is named."""
        url, _, version = name.partition("|")
        rows = parameters(kind)
        parts: list[Filter] = [Match(rows["url"].key, "uri", uri.parse(url, None))]
        if version:
            parts.append(Match(rows["version"].key, "token", token.Value(None, version)))
        hits = self._session.search(Search((kind,), AllOf(tuple(parts)), limit=2))
        if len(hits) > 1:
            raise ParameterError(f"several resources have the URL: name a version of the {kind}")
        if not hits:
            return None
        tree: dict[str, Any] = strict_json.read(hits[0].version.body)
        return tree

    def _codes(self, value_set: dict[str, Any]) -> Iterator[Code]:
        expansion = value_set.get("expansion")
        if isinstance(expansion, dict):
            yield from _contained(expansion, 0)
            return
        compose = value_set.get("compose")
        if not isinstance(compose, dict):
            raise _unsupported(_LISTED)
        out = {code for one in compose.get("exclude", []) for code in self._included(one)}
        for one in compose.get("include", []):
            yield from (code for code in self._included(one) if code not in out)

    def _included(self, part: dict[str, Any]) -> list[Code]:
        system = part.get("system")
        if not system or "filter" in part or "valueSet" in part:
            raise _unsupported(_LISTED)
        if "concept" in part:
            return [Code(system, one["code"]) for one in part["concept"]]
        every = self._nested(f"{system}|{part['version']}" if "version" in part else system)
        if every is None:
            raise _unsupported(_LISTED)
        return [Code(system, code) for code, _ in every]

    def _nested(self, system: str) -> list[tuple[str, tuple[str, ...]]] | None:
        """Return each code of a complete CodeSystem with the codes above it; None if it is not here."""
        found = self._canonical("CodeSystem", system)
        if found is None or found.get("content") != "complete":
            return None
        if found.get("hierarchyMeaning", "is-a") != "is-a":
            return None
        return list(_concepts(found, (), 0))


def _concepts(
    owner: dict[str, Any], path: tuple[str, ...], depth: int
) -> Iterator[tuple[str, tuple[str, ...]]]:
    for one in owner.get("concept", []) if depth < NESTING_DEPTH_MAX else []:
        yield one["code"], path
        yield from _concepts(one, (*path, one["code"]), depth + 1)


def _contained(owner: dict[str, Any], depth: int) -> Iterator[Code]:
    for one in owner.get("contains", []) if depth < NESTING_DEPTH_MAX else []:
        # An abstract one is a heading, and in nobody's record.
        if "code" in one and "system" in one and not one.get("abstract"):
            yield Code(one["system"], one["code"])
        yield from _contained(one, depth + 1)


def _few(codes: Iterator[Code]) -> list[Code]:
    found: list[Code] = []
    for code in codes:
        if len(found) == SEARCH_VALUES_MAX:
            raise ParameterError(
                f"a search has {SEARCH_VALUES_MAX} values at most, those of a ValueSet included"
            )
        found.append(code)
    return found


def _unsupported(why: str) -> ParameterError:
    return ParameterError((Issue("not-supported", why),))
