"""Links are rewritten wherever a body is cut into pieces, and nothing else is."""

from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caretrail.capture.rewriting import Rewriter, inflating

OLD, NEW = "http://hapi:8080/fhir", "https://fhir.example.org/r4"
BUNDLE = (
    b'{"resourceType":"Bundle","link":[{"url":"http://hapi:8080/fhir?_page=2"},'
    b'{"url":"http:\\/\\/hapi:8080\\/fhir\\/Patient"},{"url":"http://hapi:8080/fhir"}],'
    b'"entry":[{"fullUrl":"http://hapi:8080/fhir/Patient/1","other":"http://hapi:8080/fhirx"}]}'
)
EXPECTED = (
    b'{"resourceType":"Bundle","link":[{"url":"https://fhir.example.org/r4?_page=2"},'
    b'{"url":"https:\\/\\/fhir.example.org\\/r4\\/Patient"},{"url":"https://fhir.example.org/r4"}],'
    b'"entry":[{"fullUrl":"https://fhir.example.org/r4/Patient/1","other":"http://hapi:8080/fhirx"}]}'
)


def rewritten(body: bytes, cuts: list[int]) -> bytes:
    rewriter, parts, done = Rewriter(OLD, NEW), [], 0
    for cut in sorted(cuts):
        parts.append(rewriter.feed(body[done:cut]))
        done = max(done, cut)
    return b"".join([*parts, rewriter.feed(body[done:]), rewriter.finish()])


@given(st.lists(st.integers(0, len(BUNDLE)), max_size=30))
def test_links_of_a_bundle_are_the_gateways_wherever_it_is_cut(cuts: list[int]) -> None:
    assert rewritten(BUNDLE, cuts) == EXPECTED


def test_every_byte_may_come_alone() -> None:
    assert rewritten(BUNDLE, list(range(len(BUNDLE)))) == EXPECTED


@given(
    st.lists(st.sampled_from([OLD, OLD + "/", "http://", "hapi", '"', "x", OLD[:-3]]), max_size=60),
    st.lists(st.integers(0, 1_500), max_size=20),
)
def test_cuts_never_change_the_outcome(words: list[str], cuts: list[int]) -> None:
    body = ('{"output":"' + "".join(words)).encode()
    assert rewritten(body, cuts) == rewritten(body, [])


@pytest.mark.parametrize(
    "body",
    [
        b'{"resourceType":"Patient","url":"http://hapi:8080/fhir/Patient/1"}',
        b'<?xml version="1.0"?>\n<Patient><id value="http://hapi:8080/fhir/1"/></Patient>',
        b"",
    ],
)
def test_a_resource_is_passed_on_as_it_is(body: bytes) -> None:
    assert rewritten(body, []) == body
    assert rewritten(body, list(range(len(body)))) == body


@pytest.mark.parametrize(
    "body",
    [
        b'<?xml version="1.0"?><!-- x --><Bundle><url value="http://hapi:8080/fhir/1"/></Bundle>',
        b'{"output":[{"url":"http://hapi:8080/fhir/files/1"}]}',
        b'{"entry":[{"resource":{"resourceType":"Patient"},"fullUrl":"http://hapi:8080/fhir/P"}]}',
        b'\xef\xbb\xbf {"resourceType" : "CapabilityStatement","url":"http://hapi:8080/fhir"}',
        b"http://hapi:8080/fhir",
        b" " * 2_000 + b"http://hapi:8080/fhir",
    ],
)
def test_what_the_server_says_of_itself_is_rewritten(body: bytes) -> None:
    assert rewritten(body, []) == body.replace(OLD.encode(), NEW.encode())


def test_a_large_bundle_is_not_held_back() -> None:
    rewriter = Rewriter(OLD, NEW)
    first = rewriter.feed(b'{"resourceType":"Bundle","entry":[' + b"x" * 100_000)
    assert len(first) > 99_900


def test_a_compressed_body_is_read_piece_by_piece() -> None:
    packed = gzip.compress(json.dumps([OLD] * 100).encode())
    unpack = inflating("gzip")
    assert unpack is not None
    parts = [unpack(packed[n : n + 7]) for n in range(0, len(packed), 7)]
    assert json.loads(b"".join(parts)) == [OLD] * 100
    plain = inflating("identity")
    assert plain is not None
    assert plain(b"x") == b"x"
    assert inflating("br") is None
