"""What the interactions work with; the application wires it once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from caretrail import clock
from caretrail.limits import BUNDLE_BYTES_MAX, BUNDLE_ENTRIES_MAX, EVENT_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from caretrail.access.decision import Gate
    from caretrail.access.rate import Rate
    from caretrail.api.auditing import Auditing
    from caretrail.exporting.jobs import Exports
    from caretrail.feeding.subscriptions import Subscriptions
    from caretrail.publisher.publishing import Publisher
    from caretrail.repository import Repository


def _no_metrics() -> bytes:
    return b""


class Service(NamedTuple):
    """The repository, who may use it, and the settings that interactions read.

    `public_url` is the address of this server as its clients see it, without `/fhir`; "" takes it
    from each request. `require_date` refuses a search without a date (ITI-81, strict). `log_access`
    says what of `/log` everybody may read: "public" all of it, "hashes" what names no entry,
    "private" nothing. Without a `publisher` nothing is signed, and without `exports` none are made.
    `integrity` says what the last verification has found. `now` is in milliseconds since 1970.
    `issuer` is where the authorization server is, "" without one. `prefix` comes before `/fhir` in
    the addresses of a tenant.
    `parts` is what else has a state that an operator wants to know, by its name.
    Without `auditing` reads leave no event, and `rate` bounds what each source records.
    """

    repository: Repository
    gate: Gate
    public_url: str = ""
    require_date: bool = False
    event_bytes_max: int = EVENT_BYTES_MAX
    bundle_bytes_max: int = BUNDLE_BYTES_MAX
    bundle_entries_max: int = BUNDLE_ENTRIES_MAX
    log_access: str = "hashes"
    publisher: Publisher | None = None
    exports: Exports | None = None
    metrics: Callable[[], bytes] = _no_metrics
    integrity: Callable[[], Mapping[str, Any]] = dict
    now: Callable[[], int] = clock.milliseconds
    issuer: str = ""
    auditing: Auditing | None = None
    rate: Rate | None = None
    prefix: str = ""
    parts: Callable[[], Mapping[str, Any]] = dict
    subscriptions: Subscriptions | None = None
