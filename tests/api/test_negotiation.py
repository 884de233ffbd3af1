"""Which format an answer has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from caretrail.api import negotiation
from caretrail.api.http import Format, Request
from caretrail.errors import NotAcceptableError

if TYPE_CHECKING:
    from tests.api.arr import Arr


def asked(accept: str = "", query: str = "", sent: str = "") -> Format:
    headers = {b"accept": accept.encode(), b"content-type": sent.encode()}
    return negotiation.response_format(Request("GET", "/fhir/AuditEvent", query, headers))


@pytest.mark.parametrize(
    ("accept", "xml"),
    [
        ("", False),
        ("*/*", False),
        ("application/*", False),
        ("application/fhir+json", False),
        ("application/json", False),
        ("text/json", False),
        ("application/fhir+xml", True),
        ("application/xml", True),
        ("text/xml", True),
        ("Application/FHIR+XML; charset=utf-8", True),
        ("application/fhir+xml, application/fhir+json", True),
        ("application/fhir+json, application/fhir+xml", False),
        ("application/fhir+json;q=0.5, application/fhir+xml;q=0.6", True),
        ("application/fhir+json;q=0, */*", True),
        ("application/fhir+xml;q=0.5, */*;q=0.8", False),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", True),
        ("application/fhir+xml;q=nonsense, application/fhir+json", False),
        ("application/fhir+xml;fhirVersion=5.0, application/fhir+json", False),
        ("application/fhir+xml;fhirVersion=4.0", True),
        (",,;;=", None),
        ("text/html", None),
        ("application/fhir+json;q=0", None),
        ("application/fhir+json;fhirVersion=5.0", None),
    ],
)
def test_accept_decides_by_quality(accept: str, xml: bool | None) -> None:
    if xml is None:
        with pytest.raises(NotAcceptableError):
            asked(accept)
    else:
        assert asked(accept) == Format(xml=xml)


@pytest.mark.parametrize("accept", ["", "*/*"])
def test_who_sends_xml_and_takes_anything_gets_xml(accept: str) -> None:
    assert asked(accept, sent="application/fhir+xml").xml
    assert not asked("application/fhir+json", sent="application/fhir+xml").xml


@pytest.mark.parametrize(
    ("name", "xml"),
    [
        ("json", False),
        ("application/fhir%2Bjson", False),
        ("application/fhir+xml", True),
        ("xml", True),
        ("text/xml", True),
        ("application/xml;charset=utf-8", True),
    ],
)
def test_format_wins_over_accept(name: str, xml: bool) -> None:
    assert asked("text/html", f"_format={name}").xml == xml


@pytest.mark.parametrize("name", ["html", "ttl", "application/pdf", "jsonx"])
def test_a_format_that_is_not_known_is_refused(name: str) -> None:
    with pytest.raises(NotAcceptableError):
        asked("", f"_format={name}")


def test_pretty_only_changes_white_space(arr: Arr) -> None:
    plain = arr.get("/fhir/metadata")
    pretty = arr.get("/fhir/metadata?_pretty=true")
    assert pretty.json() == plain.json()
    assert pretty.text.count("\n") > 100 > plain.text.count("\n")
    assert asked(query="_pretty=false") == Format()
    assert asked(query="_pretty=true&_format=xml") == Format(xml=True, pretty=True)


@pytest.mark.parametrize(
    ("prefer", "returns", "strict", "receipt"),
    [
        ("return=minimal", "minimal", False, ""),
        ("return=OperationOutcome, handling=strict", "OperationOutcome", True, ""),
        ("handling=strict; return=representation", "representation", True, ""),
        ('RETURN="Minimal"', "minimal", False, ""),
        ("respond-async, return=everything", "", False, ""),
        ("handling=lenient", "", False, ""),
        ("", "", False, ""),
        ("caretrail-receipt", "", False, "now"),
        ("caretrail-receipt=wait, return=minimal", "minimal", False, "wait"),
    ],
)
def test_prefer_is_read_as_far_as_it_is_known(
    prefer: str, returns: str, strict: bool, receipt: str
) -> None:
    request = Request("POST", "/fhir", "", {b"prefer": prefer.encode()})
    found = negotiation.preference(request)
    assert found[:3] == (returns, strict, receipt)
    assert found.respond_async is prefer.startswith("respond-async")
