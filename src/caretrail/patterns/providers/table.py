"""The table of identity providers, and the way from what one of them sent to AuditEvents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from caretrail.errors import InvalidError, Issue, TooLargeError
from caretrail.fhir.strict_json import BOM
from caretrail.patterns.claims import settled
from caretrail.patterns.providers import auth0, entra, keycloak, okta
from caretrail.patterns.providers.reading import scrubbed
from caretrail.patterns.providers.report import Report, event_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Provider(NamedTuple):
    """A row: a provider's name, how to find its events in what it sends, how to read one."""

    title: str
    entries: Callable[[Any], list[Any]]
    read: Callable[[Any], Report]


# A row is all that the command, the webhook, the documentation and the tests know of a provider.
PROVIDERS: Final[dict[str, Provider]] = {
    "keycloak": Provider("Keycloak", keycloak.entries, keycloak.read),
    "auth0": Provider("Auth0", auth0.entries, auth0.read),
    "okta": Provider("Okta", okta.entries, okta.read),
    "entra": Provider("Microsoft Entra ID", entra.entries, entra.read),
}


class Told(NamedTuple):
    """One entry: its event as bytes, or why there is none, and then the entry without secrets."""

    body: bytes
    error: InvalidError | None = None


def convert(name: str, body: bytes, *, entries_max: int) -> Iterator[Told]:
    """Return what becomes of each entry that the provider of that name sent, in order.

    What was sent as a whole is judged at once: InvalidError when it is no JSON of objects,
    TooLargeError for more than `entries_max`. Each entry is read when the caller comes to it.
    An entry without a time cannot become an event; one of an unknown kind becomes a general one.
    """
    try:
        tree = msgspec.json.decode(body.removeprefix(BOM))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidError("the events are not JSON in UTF-8") from error
    except RecursionError as error:
        raise TooLargeError("the events nest too deep") from error
    if not isinstance(tree, dict | list):
        raise InvalidError((Issue("structure", "the events are an object or a list of objects"),))
    found = PROVIDERS[name].entries(tree)
    if len(found) > entries_max:
        raise TooLargeError(f"at most {entries_max} events may be sent at once")
    return _told(name, found)


def _told(name: str, found: list[Any]) -> Iterator[Told]:
    provider = PROVIDERS[name]
    for number, entry in enumerate(found):
        try:
            if not isinstance(entry, dict):
                raise InvalidError((Issue("structure", "an event is an object"),))
            report = provider.read(entry)
        except InvalidError as error:
            issues = [issue._replace(expression=_place(number, issue)) for issue in error.issues()]
            yield Told(msgspec.json.encode(scrubbed(entry)), InvalidError(issues))
        else:
            yield Told(settled(event_of(name, provider.title, report)))


def _place(number: int, issue: Issue) -> str:
    return f"[{number}].{issue.expression}" if issue.expression else f"[{number}]"
