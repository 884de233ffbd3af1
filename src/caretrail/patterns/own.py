"""The log's own facts as AuditEvents: start, stop, gap, key change, erasure (DESIGN, decision 12).

The observer is the log, by its origin; DICOM PS3.15 A.5 has codes for most of what happens to it.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from caretrail.patterns import codes, erasure
from caretrail.patterns.codes import DCM, Code
from caretrail.patterns.elements import coding, concept, detail_list, present

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from caretrail.fhir.audit_event import AuditEvent
    from caretrail.patterns.observation import Json

ORIGIN_SYSTEM: Final = "urn:caretrail:origin"
SECURITY_CONFIGURATION: Final = codes.SECURITY_CONFIGURATION
SETTINGS: Final = codes.security_event("settings", "Settings in Force")
APPROVAL: Final = codes.security_event("approval", "Act of Two Persons")
ALERT: Final = codes.security_event("alert", "Alert")
CLOCK_STEP: Final = codes.security_event("clock-step", "Clock Step")
NOBODY: Final[Mapping[str, str]] = MappingProxyType({})
UNSET: Final = "(not set)"
_SETTING: Final = "setting:"
OBJECT_SECURITY_CHANGED: Final = Code(DCM, "110135", "Object Security Attributes Changed")
_PERMANENT_ERASURE: Final = Code(f"{codes.THO}/dicom-audit-lifecycle", "15", "Permanent erasure")


class Log(NamedTuple):
    """The log that speaks: its origin, and the instant of what it says."""

    origin: str
    recorded: str


def details_of(event: AuditEvent) -> dict[str, str]:
    """Return the details of an event of the log's own, the last value of each type."""
    return {
        row.type: row.valueString or ""
        for entity in event.entity or ()
        for row in entity.detail or ()
    }


def started(log: Log, *, version: str, size: int, configuration: str, clean: bool) -> Json:
    """DICOM Application Start; `clean` says whether the log was stopped properly before.

    `configuration` is the digest of the settings in force, `size` the tree that was found.
    """
    details = {
        "version": version,
        "configuration": configuration,
        "tree-size": str(size),
        "stopped-before": "clean" if clean else "unclean",
    }
    return _event(
        log, codes.APPLICATION_ACTIVITY, codes.APPLICATION_START, "E", detail_list(details)
    )


def stopped(log: Log, *, version: str) -> Json:
    """DICOM Application Stop."""
    details = {"version": version}
    return _event(
        log, codes.APPLICATION_ACTIVITY, codes.APPLICATION_STOP, "E", detail_list(details)
    )


def configured(
    log: Log, *, settings: Mapping[str, str], before: Mapping[str, str] | None, account: str
) -> Json:
    """DICOM Security Configuration: a server starts with other settings than the last one.

    `settings` are all that are in force, `before` those of the last start (None: there was none).
    A value that may not be shown is a digest. `account` is who runs the server.
    """
    rows = detail_list({"account": account})
    for name, value in settings.items():
        old = value if before is None else before.get(name, "")
        if old != value:
            rows += detail_list({"changed": name})
            rows += detail_list({f"before:{name}": old or UNSET, f"after:{name}": value or UNSET})
    rows += detail_list({f"{_SETTING}{name}": value for name, value in settings.items()})
    action = "C" if before is None else "U"
    return _event(log, codes.SECURITY_ALERT, SECURITY_CONFIGURATION, action, rows, closer=SETTINGS)


def settings_of(details: Mapping[str, str]) -> dict[str, str]:
    """Return the settings that the details of such an event say were in force."""
    return {
        name.removeprefix(_SETTING): value
        for name, value in details.items()
        if name.startswith(_SETTING)
    }


def software_changed(log: Log, *, before: str, after: str) -> Json:
    """DICOM Software Configuration: the log is opened by another version than the last time."""
    details = detail_list({"before:version": before, "after:version": after})
    return _event(log, codes.SECURITY_ALERT, codes.SOFTWARE_CONFIGURATION, "U", details)


def recording(log: Log, *, started: bool, scope: str, reason: str) -> Json:
    """DICOM Audit Recording Started or Stopped: something is recorded again, or no more."""
    subtype = codes.RECORDING_STARTED if started else codes.RECORDING_STOPPED
    details = {"scope": scope, "reason": reason}
    return _event(log, codes.SECURITY_ALERT, subtype, "E", detail_list(details))


def clock_stepped(log: Log, *, before: str, after: str, milliseconds: int) -> Json:
    """DICOM Security Alert: the clock was set, from one instant to another, by so much."""
    details = {"before": before, "after": after, "milliseconds": str(milliseconds)}
    return _event(log, codes.SECURITY_ALERT, CLOCK_STEP, "E", detail_list(details), outcome="4")


def gap(log: Log, *, since: str, until: str) -> Json:
    """DICOM Audit Recording Stopped: nothing was taken between two instants (an unclean stop)."""
    details = {"gap-since": since, "gap-until": until}
    return _event(
        log, codes.SECURITY_ALERT, codes.RECORDING_STOPPED, "E", detail_list(details), outcome="4"
    )


def approval(log: Log, *, state: str, details: Mapping[str, str]) -> Json:
    """DICOM Security Configuration: an act of two persons is requested, approved or carried out.

    `details` name the approval, the command, a digest of what is asked for, and the persons.
    """
    rows = detail_list({"state": state, **details})
    return _event(log, codes.SECURITY_ALERT, SECURITY_CONFIGURATION, "E", rows, closer=APPROVAL)


def key_changed(
    log: Log, *, keys: Iterable[str], since: int, persons: Mapping[str, str] = NOBODY
) -> Json:
    """DICOM Security Configuration: other keys sign trees from the size `since` on.

    `persons` name who did it and who approved, where that took two.
    """
    rows = [
        *detail_list({"key-since": str(since), **persons}),
        *(row for key in keys for row in detail_list({"key": key})),
    ]
    return _event(log, codes.SECURITY_ALERT, SECURITY_CONFIGURATION, "U", rows)


def checkpoint_store_accepted(log: Log, *, size: int) -> Json:
    """DICOM Security Configuration: the log goes on without the checkpoint that it signed last."""
    details = {"checkpoint-store": "new", "tree-size": str(size)}
    return _event(
        log, codes.SECURITY_ALERT, SECURITY_CONFIGURATION, "U", detail_list(details), outcome="4"
    )


def recovered(log: Log, *, origin: str, checkpoint: str | None, size: int) -> Json:
    """DICOM Security Alert: a restored log goes on under another name.

    `origin` and `checkpoint` are those of the log that it was, `size` is what was restored of it.
    """
    details = {
        "recovered-origin": origin,
        "recovered-checkpoint": checkpoint or "none is known",
        "recovered-size": str(size),
    }
    return _event(
        log, codes.SECURITY_ALERT, SECURITY_CONFIGURATION, "U", detail_list(details), outcome="4"
    )


def erased(
    log: Log,
    *,
    entries: Iterable[int],
    policy: str,
    requester: str,
    approver: str,
    persons: Mapping[str, str] = NOBODY,
) -> Json:
    """DICOM Object Security Attributes Changed: the contents of these entries were erased."""
    people = {"requester": requester, "approver": approver, erasure.POLICY: policy, **persons}
    rows = [*detail_list(people), *erasure.details(entries)]
    return _event(
        log, codes.SECURITY_ALERT, OBJECT_SECURITY_CHANGED, "D", rows, lifecycle=_PERMANENT_ERASURE
    )


def retention_run(
    log: Log,
    *,
    before: str,
    policy: str,
    events: int,
    held: int,
    persons: Mapping[str, str] = NOBODY,
) -> Json:
    """DICOM Security Alert: events recorded before an instant are past their retention.

    `held` of them stay, as a legal hold covers them.
    """
    details = {
        erasure.POLICY: policy,
        "recorded-before": before,
        "events": str(events),
        "events-held": str(held),
        **persons,
    }
    return _event(log, codes.SECURITY_ALERT, OBJECT_SECURITY_CHANGED, "E", detail_list(details))


def data_key_destroyed(
    log: Log,
    *,
    month: str,
    policy: str,
    requester: str,
    approver: str,
    persons: Mapping[str, str] = NOBODY,
) -> Json:
    """DICOM Security Configuration: the data key of a month goes, and with it all its contents."""
    people = {"requester": requester, "approver": approver, erasure.POLICY: policy, **persons}
    details = detail_list({"data-key-destroyed": month} | people)
    return _event(log, codes.SECURITY_ALERT, SECURITY_CONFIGURATION, "D", details)


def hold(
    log: Log,
    *,
    number: int,
    query: str,
    reason: str,
    placed: bool,
    persons: Mapping[str, str] = NOBODY,
) -> Json:
    """DICOM Security Alert: a legal hold was placed on what a query finds, or lifted."""
    details = {"hold": str(number), "reason": reason, "state": "placed" if placed else "lifted"}
    rows = [*detail_list({**details, **persons}), {"type": "query", "valueString": query}]
    action = "C" if placed else "D"
    return _event(log, codes.SECURITY_ALERT, OBJECT_SECURITY_CHANGED, action, rows)


def exported(log: Log, *, query: str, events: int, media_type: str, requester: str) -> Json:
    """DICOM Export: events that a query finds left the log."""
    details = {"query": query, "events": str(events), "format": media_type}
    return _event(log, codes.EXPORT, None, "R", detail_list(details | {"requester": requester}))


def verified(log: Log, *, size: int, findings: int, seconds: int) -> Json:
    """DICOM Audit Log Used: the log was read whole, and compared with its tree."""
    details = {"verified-size": str(size), "findings": str(findings), "seconds": str(seconds)}
    outcome = "8" if findings else "0"
    return _event(log, codes.AUDIT_LOG_USED, None, "R", detail_list(details), outcome=outcome)


def handed_on(log: Log, *, feed: str, kind: str, events: int, until: int) -> Json:
    """DICOM Export: what a feed has handed on since it last said so, up to an entry (exclusive)."""
    details = {"feed": feed, "format": kind, "events": str(events), "until-entry": str(until)}
    return _event(log, codes.EXPORT, None, "R", detail_list(details))


def alerted(log: Log, *, reference: str, kind: str, subject: str, state: str) -> Json:
    """DICOM Security Alert: people were told of something; `state` is `begun` or `ended`."""
    details = {"alert": kind, "reference": reference, "state": state}
    details |= {"subject": subject} if subject else {}
    outcome = "0" if state == "ended" else "4"
    rows = detail_list(details)
    return _event(log, codes.SECURITY_ALERT, ALERT, "E", rows, outcome=outcome)


def node_refused(
    log: Log, *, address: str, reason: str, attempts: int = 1, seconds: int = 0
) -> Json:
    """DICOM Security Alert, Node Authentication: TLS with a node came to nothing (ITI-19).

    `address` is the node's, "" for many; `attempts` is more than one for those that were only
    counted, over `seconds`.
    """
    details = {
        "tls-error": reason,
        "attempts": str(attempts) if attempts > 1 else "",
        "window-seconds": str(seconds) if seconds else "",
    }
    event = _event(
        log,
        codes.SECURITY_ALERT,
        codes.NODE_AUTHENTICATION,
        "E",
        detail_list(details),
        outcome="8",
    )
    node = {
        "type": concept(codes.APPLICATION),
        "who": {"display": "unknown"},
        "requestor": True,
        "network": {"address": address, "type": "2"} if address else {},
    }
    return {**event, "agent": [present(node)]}


def _event(
    log: Log,
    kind: Code,
    subtype: Code | None,
    action: str,
    details: list[Json],
    *,
    outcome: str = "0",
    lifecycle: Code | None = None,
    closer: Code | None = None,
) -> Json:
    who = {"identifier": {"system": ORIGIN_SYSTEM, "value": log.origin}}
    entity: dict[str, Any] = {
        "what": who,
        "type": coding(codes.SYSTEM_OBJECT),
        "role": coding(codes.SECURITY_RESOURCE),
        "lifecycle": coding(lifecycle) if lifecycle else None,
        "detail": details,
    }
    return present(
        {
            "resourceType": "AuditEvent",
            "type": coding(kind),
            "subtype": [coding(code) for code in (subtype, closer) if code],
            "action": action,
            "recorded": log.recorded,
            "outcome": outcome,
            "agent": [{"type": concept(codes.APPLICATION), "who": who, "requestor": True}],
            "source": {"observer": who, "type": [coding(codes.SECURITY_SERVER)]},
            "entity": [present(entity)],
        }
    )
