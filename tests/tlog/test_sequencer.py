"""The sequencer: what a leaf, a key, a fingerprint and the tags of an event follow from."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caretrail import sequencer
from caretrail.fhir import temporal
from caretrail.limits import EVENT_BYTES_REMEMBERED
from caretrail.sequencer import (
    BUCKET_MAX,
    ENTRY_MASK,
    Identity,
    bucket_of,
    bucket_of_key,
    fingerprint,
    key_of,
    prepare,
)
from caretrail.tlog.entry import TAG_BYTES, TAGS_MAX, Entry, Kind, commitment
from caretrail.tlog.tree import leaf_hash
from tests.search.test_values import agents, entities, record

if TYPE_CHECKING:
    from caretrail.search.record import Record

IDENTITY = Identity(b"L" * 16, b"K" * 32)
SALT = b"S" * 32
EVENT = bytes(16)


def _tags(stored: Record, key: bytes = IDENTITY.tag_key) -> tuple[bytes, ...]:
    return sequencer.tags(stored, EVENT, key)


def test_an_agent_of_a_large_event_is_tagged_and_not_remembered() -> None:
    stored = agents({"reference": "Practitioner/large"})
    large = stored._replace(body=bytes(EVENT_BYTES_REMEMBERED + 1))
    remembered = sequencer._subject_keys(IDENTITY.tag_key).of_agent
    tags = _tags(large)
    assert large.event.agent[0].who not in remembered
    assert tags == _tags(stored) != ()
    assert stored.event.agent[0].who in remembered


def _expected(subject: str) -> bytes:
    """Return the tag of a subject, as it is defined."""
    key = hmac.digest(IDENTITY.tag_key, subject.encode(), "sha256")
    return hmac.digest(key, EVENT, "sha256")[:TAG_BYTES]


@pytest.mark.parametrize(
    ("who", "subject"),
    [
        ({"reference": "Practitioner/1"}, "agent\nPractitioner/1"),
        ({"reference": "http://a.example/Practitioner/1/_history/2"}, "agent\nPractitioner/1"),
        ({"reference": "urn:uuid:1", "identifier": {"value": "2"}}, "agent\nurn:uuid:1"),
        ({"identifier": {"system": "urn:x", "value": "2"}}, "agent\nurn:x|2"),
        ({"identifier": {"value": "2"}}, "agent\n|2"),
        ({"identifier": {"system": "urn:x"}}, None),
        ({"display": "Ada"}, None),
    ],
)
def test_a_tag_is_made_from_whom_a_reference_means(who: Any, subject: str | None) -> None:
    assert _tags(agents(who)) == (() if subject is None else (_expected(subject),))


def test_a_patient_is_tagged_in_both_roles_and_once() -> None:
    patient = {"reference": "Patient/1"}
    stored = agents(patient, patient, entity=[{"what": patient}, {"what": {"reference": "Task/1"}}])
    assert _tags(stored) == tuple(sorted((_expected("agent\nPatient/1"), _expected("patient\nPatient/1"))))  # fmt: skip


def test_tags_are_sorted_and_bounded_however_many_subjects_there_are() -> None:
    """More subjects than keys are kept for: the keys are made again."""
    many = [{"reference": f"Device/{number}"} for number in range(5_000)]
    expected = sorted(_expected(f"agent\nDevice/{number}") for number in range(5_000))
    for _ in range(2):
        assert _tags(agents(*many)) == tuple(expected[:TAGS_MAX])
    few = agents({"reference": "Device/1"})
    assert _tags(few, b"other" * 6) != _tags(few) == (_expected("agent\nDevice/1"),)


@given(second=st.integers(-(10**11), 10**11), fraction=st.text("0123456789", max_size=12))
def test_a_bucket_is_the_millisecond_and_says_whether_more_was_written(
    second: int, fraction: str
) -> None:
    fraction = fraction.rstrip("0")
    bucket, exact = bucket_of(second, fraction)
    milliseconds = second * 1000 + int(fraction[:3].ljust(3, "0"))
    assert bucket == min(max(milliseconds, 0), BUCKET_MAX)
    assert exact is (0 < milliseconds < BUCKET_MAX and len(fraction) <= 3)


@given(bucket=st.integers(0, BUCKET_MAX), entry=st.integers(0, 2**40))
def test_a_key_has_the_time_in_front(bucket: int, entry: int) -> None:
    key = key_of(bucket, entry)
    assert 0 <= key < 2**63
    assert bucket_of_key(key) == bucket
    assert key & ENTRY_MASK == entry & ENTRY_MASK
    assert bucket_of_key(fingerprint(bucket, "p", b"body")) == bucket


def test_a_fingerprint_tells_bodies_and_producers_apart() -> None:
    one = fingerprint(1, "a", b"x")
    assert one == fingerprint(1, "a", b"x")
    assert len({one, fingerprint(1, "b", b"x"), fingerprint(1, "a", b"y"), fingerprint(2, "a", b"x")}) == 4  # fmt: skip


@pytest.mark.parametrize("kind", Kind)
def test_a_leaf_is_the_hash_of_the_entry(kind: Kind) -> None:
    stored = record(recorded="2023-05-01T10:00:00.1234Z")
    stored = stored._replace(kind=kind)
    pending = prepare(stored, salt=SALT)
    entry = sequencer.entry_of(stored, salt=SALT, identity=IDENTITY)
    assert sequencer.leaf(stored, salt=SALT, identity=IDENTITY) == leaf_hash(entry.encode())
    assert Entry.decode(entry.encode()) == entry
    assert entry.kind == kind
    assert entry.event.hex() == stored.id.replace("-", "")
    assert entry.commitment == commitment(SALT, stored.body)
    assert (entry.log, entry.received, entry.number) == (IDENTITY.log, stored.received, None)
    assert pending.irregular
    assert pending.bucket == temporal.instant("2023-05-01T10:00:00.123Z").milliseconds
    assert pending.key is None


def test_another_organisation_is_another_producer() -> None:
    assert sequencer.producer_id("a", "b") == sequencer.producer_id("a", "b")
    assert len({sequencer.producer_id("a", "b"), sequencer.producer_id("b", "a"), sequencer.producer_id("a", "")}) == 3  # fmt: skip


def test_a_batch_ends_behind_its_last_event() -> None:
    events = [prepare(record(outcomeDesc=f"e{at}"), salt=SALT) for at in range(300)]
    assert sequencer.Batch(3, events).end == 303


SEQUENCE = "urn:caretrail:source-sequence"


@pytest.mark.parametrize(
    ("members", "key"),
    [
        ({"extension": [{"url": SEQUENCE, "valueInteger": 7}], "id": "x"}, b"number:7"),
        ({"extension": [{"url": SEQUENCE, "valueUnsignedInt": 0}]}, b"number:0"),
        ({"extension": [{"url": "urn:x", "valueInteger": 1}, {"url": SEQUENCE, "valuePositiveInt": 8}]}, b"number:8"),
        ({"extension": [{"url": SEQUENCE, "valueInteger": -1}]}, None),
        ({"extension": [{"url": SEQUENCE, "valueString": "7"}]}, None),
        ({"extension": [{"url": "urn:x", "valueInteger": 1}], "id": "x"}, b"id:x"),
        ({"id": "x"}, b"id:x"),
        ({}, None),
    ],
)  # fmt: skip
def test_the_number_or_the_id_of_an_event_is_its_senders_key(
    members: Any, key: bytes | None
) -> None:
    assert sequencer.sender_key(record(**members).event) == key


def test_a_request_is_a_key_together_with_what_it_is_about() -> None:
    kind = {"system": "https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType", "code": "XrequestId"}  # fmt: skip
    request = {"what": {"identifier": {"value": "r1"}}, "type": kind}
    about = {"what": {"reference": "Patient/1"}}
    stored = entities(request, about, subtype=[{"code": "read"}])
    assert sequencer.sender_key(stored.event) == b"request:r1\nrest\nread\n\nPatient/1"


def test_tags_do_not_depend_on_how_they_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Agents are remembered, and forgotten when there are many; an extension makes them unusual."""
    monkeypatch.setattr(sequencer, "PARTS_REMEMBERED", 2)
    sequencer._subject_keys.cache_clear()
    for number in (1, 2, 3, 1):
        who = {"reference": f"Patient/{number}"}
        plain = agents(who)
        unusual = record(
            agent=[
                {"who": who, "requestor": True, "extension": [{"url": "urn:x", "valueCode": "y"}]}
            ]
        )
        expected = {_expected(f"agent\nPatient/{number}"), _expected(f"patient\nPatient/{number}")}
        assert set(_tags(plain)) == set(_tags(unusual)) == expected
    sequencer._subject_keys.cache_clear()
