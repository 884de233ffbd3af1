"""What search parameters look at: elements of any resource, in the shapes of the search types."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from caretrail.fhir import temporal
from caretrail.search.reference import literal
from caretrail.search.token import Token

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Before and after every time that FHIR can write, in nanoseconds since 1970.
FOREVER: Final = 2**62 * 1000
# Beyond every number that FHIR can write, and still one that JSON can.
ENDLESS: Final = 1e308
_CURRENCIES: Final = "urn:iso:std:iso:4217"
_CONTACTS: Final = frozenset(["phone", "fax", "email", "pager", "url", "sms", "other"])
_NAME_PARTS: Final = ("text", "family", "given", "prefix", "suffix")
_ADDRESS_PARTS: Final = ("text", "line", "city", "district", "state", "postalCode", "country")
_PERIOD: Final = ("start", "end")


class Ref(NamedTuple):
    """A Reference or a canonical; one to a resource of this server is relative."""

    reference: str | None
    display: str | None = None
    identifier: Token | None = None


class Span(NamedTuple):
    """A date, dateTime, instant or Period: nanoseconds [start, end)."""

    start: int
    end: int


class Amount(NamedTuple):
    """A number or Quantity; of a Range, or where a comparator stands, `low` and `high` differ."""

    low: float
    high: float
    system: str | None = None
    code: str | None = None
    unit: str | None = None


Element = Token | Ref | Span | Amount | str


def elements(kind: str, value: Any, *, base: str) -> list[Any]:
    """Return what a parameter of `kind` sees in a value that its expression found.

    `base` is the address of this server. A value of a shape that the kind does not have is nothing.
    """
    if kind == "reference":
        return list(_references(value, base))
    return list(_READERS[kind](value))


def _tokens(value: Any) -> Iterator[Token]:
    match value:
        case bool():
            yield Token(None, "true" if value else "false")
        case str() | int() | Decimal():
            yield Token(None, str(value))
        case {"coding": _} | {"text": str()}:
            yield from (_coding(one) for one in value.get("coding", ()))
            if "text" in value:
                yield Token(None, None, value["text"])
        case {"code": _} | {"display": _}:
            yield _coding(value)
        case {"value": str() as text, "system": str() as system} if system in _CONTACTS:
            yield Token(None, text)
        case {"value": _} | {"type": _}:
            yield identifier(value)


def _coding(value: dict[str, Any]) -> Token:
    return Token(value.get("system"), value.get("code"), value.get("display"))


def identifier(value: dict[str, Any]) -> Token:
    """Return an Identifier as a token sees it."""
    kind = value.get("type") or {}
    kinds = tuple((one.get("system"), one.get("code")) for one in kind.get("coding", ()))
    return Token(value.get("system"), value.get("value"), kind.get("text"), kinds)


def _references(value: Any, base: str) -> Iterator[Ref]:
    match value:
        case str():
            yield Ref(_local(value, base))
            if "|" in value:  # A canonical is also meant without its version.
                yield Ref(_local(value.partition("|")[0], base))
        case {"resourceType": str() as kind, "id": str() as name}:
            yield Ref(f"{kind}/{name}")
        case {"reference": _} | {"identifier": _} | {"display": _}:
            text = value.get("reference")
            named = value.get("identifier")
            yield Ref(
                _local(text, base) if text else None,
                value.get("display"),
                identifier(named) if named else None,
            )


def _local(text: str, base: str) -> str:
    return text.removeprefix(f"{base}/") if literal(text) else text


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name in dict.fromkeys((*_NAME_PARTS, *_ADDRESS_PARTS)):
            part = value.get(name)
            yield from [part] if isinstance(part, str) else part or ()


def _uris(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value


def _spans(value: Any) -> Iterator[Span]:
    match value:
        case str():
            yield Span(*temporal.search_range(value))
        case {"event": [*times]}:
            for time in times:
                yield Span(*temporal.search_range(time))
        case {"repeat": {"boundsPeriod": bounds}}:
            yield from _spans(bounds)
        case {"start": _} | {"end": _}:
            first, last = (value.get(name) for name in _PERIOD)
            start = temporal.search_range(first)[0] if first else -FOREVER
            yield Span(start, temporal.search_range(last)[1] if last else FOREVER)


def _amounts(value: Any) -> Iterator[Amount]:
    match value:
        case bool():
            return
        case int() | float() | Decimal():
            yield Amount(float(value), float(value))
        case {"low": _} | {"high": _}:
            low, high = value.get("low") or {}, value.get("high") or {}
            known = low or high
            yield Amount(
                float(low.get("value", -ENDLESS)), float(high.get("value", ENDLESS)), *_unit(known)
            )
        case {"value": number, "currency": str() as currency}:
            yield Amount(float(number), float(number), _CURRENCIES, currency, currency)
        case {"value": number}:
            low = high = float(number)
            comparator = value.get("comparator", "")
            low = -ENDLESS if comparator[:1] == "<" else low
            high = ENDLESS if comparator[:1] == ">" else high
            yield Amount(low, high, *_unit(value))
        case {"origin": {"value": _} as origin}:  # SampledData: where its zero is.
            yield from _amounts(origin)


def _unit(value: dict[str, Any]) -> tuple[str | None, str | None, str | None]:
    return value.get("system"), value.get("code"), value.get("unit")


_READERS: Final[dict[str, Callable[[Any], Iterator[Any]]]] = {
    "token": _tokens,
    "string": _strings,
    "uri": _uris,
    "date": _spans,
    "number": _amounts,
    "quantity": _amounts,
}
