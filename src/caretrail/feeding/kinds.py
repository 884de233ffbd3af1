"""THE table of kinds of receivers: a row is the whole of a kind, and one module makes it.

The file of feeds is checked against it, and the reference documentation is made from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from caretrail import outgoing
from caretrail.errors import ConfigurationError
from caretrail.feeding.receivers import webhook
from caretrail.feeding.receivers.elastic import Elastic
from caretrail.feeding.receivers.fhir import FhirRepository
from caretrail.feeding.receivers.ndjson import Lines
from caretrail.feeding.receivers.over_http import Http
from caretrail.feeding.receivers.splunk import Splunk
from caretrail.feeding.receivers.syslog import Syslog
from caretrail.formats.table import BY_CODE as FORMATS
from caretrail.limits import FEED_ENTRIES_MAX, SYSLOG_ENTRIES_MAX
from caretrail.outgoing import OPERATORS, Address

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

    from caretrail.feeding.contract import Receiver

_HTTP: Final = {"https": 443, "http": 80}
_PLAIN_HTTP: Final = frozenset(["http"])
_SPLUNK_PATH: Final = "/services/collector/event"


class Wanted(NamedTuple):
    """What a feed says of its receiver, checked; `secret` reads its credential, "" for none."""

    name: str
    address: Address
    tls: ssl.SSLContext | None
    secret: Callable[[], str]
    format: str
    option: str = ""

    def http(self, path: str = "") -> Http:
        """Return what posts to the address, and below it to `path`."""
        url = self.address.url
        return Http(url.rstrip("/") + path if path else url, OPERATORS, self.tls)


class Kind(NamedTuple):
    """One kind: the schemes of its addresses with their ports, and its formats, the usual first.

    `option` is the one member of a feed that only this kind has; `credential` says what its file
    holds, and whether there has to be one. A batch has so many entries at most.
    """

    code: str
    what: str
    schemes: Mapping[str, int]
    formats: tuple[str, ...]
    make: Callable[[Wanted], Receiver]
    credential: str = ""
    needs_credential: bool = False
    option: str = ""
    plain: frozenset[str] = _PLAIN_HTTP
    batch: int = FEED_ENTRIES_MAX


def _fhir(wanted: Wanted) -> Receiver:
    base = wanted.address.url.rstrip("/")
    return FhirRepository(Http(base, OPERATORS, wanted.tls), wanted.secret)


def _splunk(wanted: Wanted) -> Receiver:
    return Splunk(wanted.http(_SPLUNK_PATH), wanted.secret, f"caretrail:{wanted.format}")


def _elastic(wanted: Wanted) -> Receiver:
    return Elastic(wanted.http("/_bulk"), wanted.secret, wanted.option)


def _lines(wanted: Wanted) -> Receiver:
    return Lines(wanted.http(), wanted.secret)


def _webhook(wanted: Wanted) -> Receiver:
    webhook.key_of(wanted.secret())
    return webhook.Webhook(wanted.http(), wanted.secret, wanted.name)


def _syslog(wanted: Wanted) -> Receiver:
    message_id = FORMATS[wanted.format].message_id
    return Syslog(wanted.address, OPERATORS, wanted.tls, message_id)


def _nats(wanted: Wanted) -> Receiver:
    try:
        from caretrail.feeding.receivers.nats import Nats
    except ImportError as error:
        raise ConfigurationError("a nats feed needs: pip install 'caretrail[nats]'") from error
    return Nats(wanted.address, OPERATORS, wanted.tls, wanted.secret, wanted.option)


# Every credential but a webhook's secret may be left out where the receiver asks for none.
KINDS: Final = (
    Kind("fhir", "another Audit Record Repository, over FHIR (ITI-20)", _HTTP, ("fhir",), _fhir, "a bearer token"),
    Kind("syslog", "a syslog receiver, over TLS (RFC 5425)", {"tls": 6514}, ("cef", "fhir", "ocsf", "ecs"), _syslog, plain=frozenset(), batch=SYSLOG_ENTRIES_MAX),
    Kind("splunk", "Splunk's HTTP Event Collector", _HTTP, ("ocsf", "ecs", "cef", "fhir"), _splunk, "the collector's token", needs_credential=True),
    Kind("elastic", "Elasticsearch or OpenSearch, by _bulk", _HTTP, ("ecs", "ocsf", "fhir"), _elastic, "an API key", option="index"),
    Kind("http", "a collector that takes an event a line (Vector, Fluent Bit, Logstash)", _HTTP, ("ocsf", "ecs", "fhir", "cef"), _lines, "a bearer token"),
    Kind("webhook", "a webhook with signed messages (Standard Webhooks)", _HTTP, ("fhir", "ocsf", "ecs"), _webhook, "the secret, whsec_ and base64", needs_credential=True),
    Kind("nats", "a subject of NATS JetStream", {"tls": 4222, "nats": 4222}, ("fhir", "ocsf", "ecs", "cef"), _nats, "a token", option="subject", plain=frozenset(["nats"])),
)  # fmt: skip
BY_CODE: Final = {row.code: row for row in KINDS}


def make(kind: Kind, wanted: Wanted) -> Receiver:
    """Return the receiver; call it in the event loop that will use it."""
    return kind.make(wanted)


def address_of(kind: Kind, text: str) -> Address:
    """Return where the receiver is; raise ConfigurationError for an address of another kind."""
    return outgoing.address_of(text, schemes=kind.schemes, plain=kind.plain)
