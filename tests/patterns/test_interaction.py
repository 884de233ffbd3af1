"""Method and path say which interaction it is (FHIR R4, RESTful API)."""

from __future__ import annotations

import pytest

from caretrail.patterns.exchange import Message
from caretrail.patterns.interaction import classify, name_of
from caretrail.patterns.literal import parse
from tests.patterns.exchanges import bundle, message
from tests.patterns.test_golden import exchange


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("GET", "Patient/1", "read"),
        ("HEAD", "Patient/1", "read"),
        ("GET", "/Patient/1/", "read"),
        ("GET", "Patient/1/_history/2", "vread"),
        ("GET", "Patient/1/_history", "history-instance"),
        ("GET", "Patient/_history", "history-type"),
        ("GET", "_history", "history-system"),
        ("POST", "Patient", "create"),
        ("PUT", "Patient/1", "update"),
        ("PUT", "Patient", "conditional-update"),
        ("PATCH", "Patient/1", "patch"),
        ("PATCH", "Patient", "conditional-patch"),
        ("DELETE", "Patient/1", "delete"),
        ("DELETE", "Patient", "conditional-delete"),
        ("GET", "Patient", "search-type"),
        ("POST", "Patient/_search", "search-type"),
        ("GET", "Patient/1/Observation", "search-compartment"),
        ("GET", "Patient/1/*", "search-compartment"),
        ("POST", "Patient/1/Observation/_search", "search-compartment"),
        ("GET", "", "search-system"),
        ("POST", "_search", "search-system"),
        ("GET", "metadata", "capabilities"),
        ("GET", "$export", "$export"),
        ("GET", "Group/1/$export", "$export"),
        ("POST", "Patient/$match", "$match"),
        ("POST", "$import", "$import"),
        ("GET", "Patient/1/$everything", "$everything"),
        ("GET", "Ours/1", "read"),
        ("DELETE", "Patient/1/$x", "unknown"),
        ("GET", "health", "unknown"),
        ("GET", "Patient/1/2/3/4", "unknown"),
        ("GET", "$x/y", "unknown"),
        ("GET", "Patient/$x/y", "unknown"),
        ("GET", "metadata/x", "unknown"),
        ("GET", "Patient/1/_history/2/x", "unknown"),
        ("TRACE", "Patient/1", "unknown"),
        ("POST", "", "unknown"),
    ],
)
def test_a_request_is_of_an_interaction(method: str, path: str, name: str) -> None:
    row, target = classify(exchange(method, path))
    assert name_of(row, target) == name


def test_a_condition_makes_a_create_conditional() -> None:
    asked = message(None, if_none_exist="identifier=1")
    assert classify(exchange("POST", "Patient", request=asked))[0].name == "conditional-create"


@pytest.mark.parametrize("kind", ["batch", "transaction"])
def test_a_bundle_says_what_it_is_even_when_it_is_cut_off(kind: str) -> None:
    body = message(bundle(kind)).body[:70]
    seen = exchange("POST", "", request=Message(body=body, is_whole=False))
    assert classify(seen)[0].name == kind


def test_a_page_is_known_by_what_it_brings() -> None:
    seen = exchange("GET", "_page/7", response=message(bundle("searchset")))
    assert classify(seen)[0].name == "search-page"


def test_a_version_and_a_compartment_are_parts_of_the_target() -> None:
    _, target = classify(exchange("GET", "Patient/a%2Db/_history/2"))
    assert target.reference == "Patient/a-b/_history/2"
    _, target = classify(exchange("GET", "Patient/1/Observation"))
    assert (target.type, target.id, target.inner) == ("Patient", "1", "Observation")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Patient/1", "Patient/1"),
        ("Patient/1/_history/2", "Patient/1/_history/2"),
        ("https://us/r4/Patient/1/", "Patient/1"),
        ("https://them/r4/Patient/1", "https://them/r4/Patient/1"),
    ],
)
def test_a_literal_reference_is_relative_to_our_own_base(text: str, expected: str) -> None:
    named = parse(text, "https://us/r4/")
    assert named is not None
    assert named.versioned == expected


@pytest.mark.parametrize("text", ["", "Patient", "#p", "urn:uuid:1", "patient/1", 7, None, "P/1?x"])
def test_what_is_no_literal_reference_names_nothing(text: object) -> None:
    assert parse(text) is None
