"""An event is served as it was received, but for id and version."""

from __future__ import annotations

import json
import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from caretrail.fhir.served import served

NAMES = st.from_regex(r"_?[a-z][A-Za-z]{0,8}", fullmatch=True)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
OURS = {"id", "meta", "resourceType"}
META = {"versionId", "lastUpdated"}


def serve(view: bytes) -> bytes:
    return served(view, event_id="0-1", received_ms=1_700_000_000_123)


@given(
    st.dictionaries(NAMES, VALUES, max_size=6),
    st.none() | st.dictionaries(NAMES, VALUES, max_size=4),
    st.sampled_from([None, 1, 3]),
)
def test_everything_else_is_unchanged(
    members: dict[str, Any], meta: dict[str, Any] | None, indent: int | None
) -> None:
    members.pop("meta", None)
    sent = {"resourceType": "AuditEvent", **members}
    if meta is not None:
        sent["meta"] = meta
    got = json.loads(serve(json.dumps(sent, indent=indent).encode()))
    assert without(got, OURS) == without(sent, OURS)
    assert without(got["meta"], META) == without(meta or {}, META)
    assert list(got)[:3] == ["resourceType", "id", "meta"]
    assert (got["id"], got["meta"]["versionId"]) == ("0-1", "1")
    assert got["meta"]["lastUpdated"] == "2023-11-14T22:13:20.123Z"


def without(members: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if name not in names}


def test_the_bytes_of_every_other_member_stay() -> None:
    kept = [
        rb'"x":{ "value" : 1.500e0 , "text":"\u00e4\/ " }',
        rb'"_recorded":[ null , {"a":[]} ]',
        rb'"n":0.10000000000000000000000001',
    ]
    view = (
        b'{ "id":"mine", '
        + b" , ".join(kept)
        + b', "meta":{"versionId":"4","tag":[ 1 ]},"resourceType":"AuditEvent"}'
    )
    got = serve(view)
    for piece in kept:
        assert piece in got
    assert re.search(rb'"meta":\{"versionId":"1","lastUpdated":"[^"]+","tag":\[ 1 \]\}', got)
    assert got.count(b'"id"') == 1
