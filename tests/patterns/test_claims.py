"""An event that was judged by its shape is judged as it would have been by itself."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caretrail.fhir import intake, profiles
from caretrail.limits import EVENT_SHAPES_MAX
from caretrail.patterns import claims
from caretrail.patterns.codes import Code
from caretrail.patterns.credential import OAuthToken
from caretrail.patterns.exchange import Identity
from caretrail.patterns.observation import User
from caretrail.patterns.recording import Policy, record
from tests.patterns.test_golden import EVENTS, exchange

READ = EVENTS["OAUTHaccessTokenUse.Minimal"]
QUERY = EVENTS["PatientQuery"]
# Beginnings of texts that could hide something: quotes, escapes, and what looks like JSON.
TEXTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["", " ", "\\", '"', '","value":"', "Patient/1", "Group/1", "#x", "\x00", "\ud800",
                     "Patient/1/Observation/2", "Patient/", "urn:uuid:1", "a b", "QQ", "QUJD", "QQ==",
                     "2026-02-30T00:00:00Z", "2026-11-24T25:00:00Z", "2026-11-24T01:02:03.4Z",
                     "2026-11-24T01:02:03"]),
)  # fmt: skip


def changed(event: dict, path: tuple, text: str) -> dict:
    copy = json.loads(json.dumps(event))
    owner = copy
    for step in path[:-1]:
        owner = owner[step]
    owner[path[-1]] = text
    return copy


# Texts of requests. What is wrong with a time, base64 or reference is a bug of a caller.
FROM_OUTSIDE = ("value", "address", "system", 0, "site", "description", "name")
PATHS = [
    (READ, ("recorded",)),
    (READ, ("agent", 0, "who", "identifier", "value")),
    (READ, ("agent", 0, "network", "address")),
    (READ, ("agent", 1, "who", "reference")),
    (READ, ("agent", 2, "who", "identifier", "system")),
    (READ, ("agent", 2, "policy", 0)),
    (READ, ("entity", 1, "what", "reference")),
    (READ, ("entity", 2, "what", "reference")),
    (READ, ("entity", 2, "type", "code")),
    (READ, ("source", "site")),
    (QUERY, ("entity", 1, "query")),
    (QUERY, ("entity", 1, "description")),
    (QUERY, ("agent", 2, "name")),
]


@given(st.sampled_from(PATHS), TEXTS)
def test_a_remembered_shape_never_hides_a_problem(place: tuple, text: str) -> None:
    """Every text at every place: judged alone, and after the sound event, it is the same."""
    sound, path = place
    event = changed(sound, path, text)
    claims._sound.clear()
    alone = judged(event)
    judged(sound)
    assert judged(event) == alone
    if isinstance(alone, bytes) and path[-1] in FROM_OUTSIDE:
        assert profiles.unmet(intake.parse(alone).event) == ()


def judged(event: dict) -> object:
    """Return the settled event, or what kept it from being one: a time that is none."""
    try:
        return claims.settled(event)
    except msgspec.ValidationError as error:
        return str(error)


def test_shapes_that_are_remembered_are_bounded() -> None:
    claims._sound.clear()
    for number in range(EVENT_SHAPES_MAX + 1):
        claims.settled(changed(READ, ("source", "site"), f"site {number}"))
    assert len(claims._sound) == 1


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
def test_events_that_differ_in_texts_alone_have_one_shape(event: dict) -> None:
    claims._sound.clear()
    for number in range(3):
        text = json.dumps(event).replace("Patient/1", f"Patient/{number}")
        claims.settled(json.loads(text.replace("09:30:00", f"09:30:0{number}")))
    assert len(claims._sound) == 1


@given(
    st.sampled_from(["GET", "POST", "PUT", "DELETE", "get"]),
    st.one_of(st.text(), st.lists(st.sampled_from(
        ["Patient", "_history", "_search", "$x%20y", "%00", "a b", "..", "1", "*", "%E9", "metadata"]
    ), max_size=5).map("/".join)),
    st.text(),
    st.sampled_from([0, 200, 201, 404, 999]),
    st.text(max_size=20),
)  # fmt: skip
def test_no_request_makes_an_invalid_event(method, path, query, status, text) -> None:
    identity = Identity(
        user=User(who={"display": text or "x"}, name=text, roles=(Code(text, text or "r", text),)),
        credential=OAuthToken(id=text, issuer=text, subject=text or None, client=text),
        purposes=(Code("", text or "p"),),
        reason=text,
    )
    seen = exchange(
        method, path, status, query=query, identity=identity, address=text, request_id=text or None
    )
    for body in record(seen, Policy()):
        assert profiles.unmet(intake.parse(body).event) == ()
