"""The sequencer: pending events and a tree become what a store commits whole.

Everything is computed here: keys, commitments, leaves and nodes. Time and randomness are passed in,
so that a batch follows from its inputs alone. What does not need the tree is done by whoever takes
events in (`prepare`); leaves and nodes by the store's one writer, which has the tree (`leaf`, `tlog.tree`).
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, NamedTuple
from zlib import crc32

from caretrail.fhir import temporal
from caretrail.fhir.audit_event import Reference
from caretrail.limits import PARTS_REMEMBERED
from caretrail.search import elements
from caretrail.search.reference import literal
from caretrail.tlog import tree as merkle
from caretrail.tlog.entry import TAGS_MAX, Entry, Mac, commitment, subject_key, tag, tag_once

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from caretrail.fhir.audit_event import AuditEvent
    from caretrail.search.record import Record

# A key is 42 bits of milliseconds since 1970, which reach 2109, and the low 20 bits of the entry: a
# million events of one millisecond, and differences that an index writes in 5 bytes. Earlier and later instants share the first and the
# last millisecond; what order they have among themselves their exact instants decide.
ENTRY_BITS: Final = 20
ENTRY_MASK: Final = (1 << ENTRY_BITS) - 1
BUCKET_MAX: Final = (1 << 42) - 1
HOUR_MILLISECONDS: Final = 3_600_000
DAY_MILLISECONDS: Final = 24 * HOUR_MILLISECONDS


class Identity(NamedTuple):
    """Who a log is: its id in every leaf, and the key that its tags are made with."""

    log: bytes
    tag_key: bytes


class Pending(NamedTuple):
    """An event that has its id and its salt, and waits for its place in the log.

    `record.entry` is not known yet; `salt` hides what the leaf commits to. `fingerprint` is equal
    for equal bytes of one producer, `key` for events to which their producer gave the same key;
    `number` is the producer's own.
    """

    record: Record
    salt: bytes
    bucket: int
    irregular: bool
    fingerprint: int
    key: bytes | None
    number: int | None


class Batch(NamedTuple):
    """What is committed in one transaction; the first event's entry is `start`."""

    start: int
    events: Sequence[Pending]

    @property
    def end(self) -> int:
        """Return how many entries the log has when the batch is in it."""
        return self.start + len(self.events)


def prepare(record: Record, *, salt: bytes) -> Pending:
    """Compute everything about an event that does not depend on its place in the log."""
    second, fraction = temporal.exact_key(record.event.recorded)
    bucket, exact = bucket_of(second, fraction)
    return Pending(
        record,
        salt,
        bucket,
        not exact,
        fingerprint(bucket, record.producer, record.body),
        sender_key(record.event),
        elements.source_sequence(record.event),
    )


def entry_of(record: Record, *, salt: bytes, identity: Identity) -> Entry:
    """Return the log's entry of an event."""
    event_id = id_bytes(record.id)
    return Entry(
        record.kind,
        record.form,
        int(record.flags),
        identity.log,
        event_id,
        record.received,
        producer_id(record.producer, record.organisation),
        elements.source_sequence(record.event),
        commitment(salt, record.body),
        tags(record, event_id, identity.tag_key),
    )


def id_bytes(event_id: str) -> bytes:
    """Return the 16 bytes of an event's id."""
    return bytes.fromhex(event_id.replace("-", ""))


def leaf(record: Record, *, salt: bytes, identity: Identity) -> bytes:
    """Return the hash that stands for an event in the tree."""
    return merkle.leaf_hash(entry_of(record, salt=salt, identity=identity).encode())


def bucket_of(second: int, fraction: str) -> tuple[int, bool]:
    """Return the millisecond of a key, and whether it is all there is to the instant."""
    milliseconds = second * 1000 + int((fraction + "000")[:3])
    if 0 < milliseconds < BUCKET_MAX:
        return milliseconds, len(fraction) <= 3
    return (0 if milliseconds <= 0 else BUCKET_MAX), False


def key_of(bucket: int, entry: int) -> int:
    """Return the key of an event: first its time, then its place in the log."""
    return bucket << ENTRY_BITS | entry & ENTRY_MASK


def bucket_of_key(key: int) -> int:
    """Return the millisecond of a key."""
    return key >> ENTRY_BITS


def fingerprint(bucket: int, producer: str, body: bytes) -> int:
    """Return a number that is the same for the same bytes of one producer.

    It has the time in front, like a key, so that what comes together is kept together.
    """
    # A checksum is enough: whoever has the same number is compared byte by byte.
    digest = crc32(body, crc32(producer.encode())).to_bytes(4)
    return bucket << ENTRY_BITS | int.from_bytes(digest) & ENTRY_MASK


def sender_key(event: AuditEvent) -> bytes | None:
    """Return the key that the sender gave this event, or None (DESIGN, decision 5).

    A number of the source's own is one, an id of the resource is one. An X-Request-Id is one together with what the event is about:
    one request leaves an event for each patient.
    """
    number = elements.source_sequence(event)
    if number is not None:
        return b"number:%d" % number
    if event.id is not None:
        return b"id:" + event.id.encode()
    requests = elements.request_ids(event)
    if not requests:
        return None
    about = [requests[0].code, event.type.code]
    about += [coding.code for coding in event.subtype or ()]
    about += [one.what.reference for one in event.entity or () if one.what is not None]
    return b"request:" + "\n".join(part or "" for part in about).encode(errors="surrogatepass")


@lru_cache(4096)
def producer_id(producer: str, organisation: str) -> bytes:
    """Return the pseudonym of a producer that its entries carry."""
    name = f"{organisation}\n{producer}".encode()
    return blake2b(name, digest_size=16, person=b"caretrail/source").digest()


def tags(record: Record, event_id: bytes, tag_key: bytes) -> tuple[bytes, ...]:
    """Return a tag for every patient and agent, sorted so that their order says nothing."""
    keys, event = _subject_keys(tag_key), record.event
    if not record.is_plain:
        subjects = {subject("patient", patient) for patient in elements.patients(event)}
        subjects |= {subject("agent", agent.who) for agent in event.agent if agent.who is not None}
        found = set()
    else:
        subjects = {subject("patient", one) for one in elements.entity_patients(event)}
        of_agent = keys.of_agent
        found = {
            tag(key, event_id)
            for agent in event.agent
            if agent.who is not None
            for key in of_agent[agent.who]
        }
    found |= {keys.tag(one, event_id) for one in subjects if one}
    return tuple(sorted(found))[:TAGS_MAX]


def subject(role: str, reference: Reference) -> str:
    """Return the one spelling of whom a reference means, "" when it means nobody.

    The server and the version are left out, as in a search.
    """
    if reference.reference is not None:
        parts = literal(reference.reference)
        return f"{role}\n{parts.type}/{parts.id}" if parts else f"{role}\n{reference.reference}"
    if reference.identifier is not None and reference.identifier.value is not None:
        return f"{role}\n{reference.identifier.system or ''}|{reference.identifier.value}"
    return ""


class _SubjectKeys:
    """Keys of subjects. Those of agents are kept for a while: the same few act again and again."""

    def __init__(self, tag_key: bytes) -> None:
        self._tag_key = Mac(tag_key)
        self.of_agent = _AgentKeys(self._of)

    def tag(self, subject: str, event_id: bytes) -> bytes:
        """Return the tag of a subject that is seldom the same, as patients are."""
        return tag_once(subject_key(self._tag_key, subject), event_id)

    def _of(self, who: Reference) -> tuple[Mac, ...]:
        """Return an agent's key, and that of the patient that it may be."""
        subjects = [subject("agent", who)]
        if elements.reference_kind(who) == "Patient":
            subjects.append(subject("patient", who))
        return tuple(Mac(subject_key(self._tag_key, one)) for one in subjects if one)


class _AgentKeys(dict[Reference, tuple[Mac, ...]]):
    def __init__(self, make: Callable[[Reference], tuple[Mac, ...]]) -> None:
        self._make = make

    def __missing__(self, who: Reference) -> tuple[Mac, ...]:
        if len(self) >= PARTS_REMEMBERED:
            self.clear()
        keys = self[who] = self._make(who)
        return keys


_subject_keys: Final = lru_cache(1)(_SubjectKeys)  # A process has one log, or few.
