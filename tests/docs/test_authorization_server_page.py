"""The page of the authorization server names every address, event and table of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from caretrail.access.server.application import ROUTES
from caretrail.access.server.tokens import ACCESS
from tests.access.server.test_events import EVENTS, PROFILES

PAGE: Final = (
    Path(__file__).parents[2] / "docs" / "reference" / "authorization-server.md"
).read_text(encoding="utf-8")


def test_every_address_is_there() -> None:
    rows = [line for line in PAGE.splitlines() if re.match(r"\| `/(?:auth|fhir)/", line)]
    told = {
        (path, method)
        for row in rows
        for path in re.findall(r"`(/[^`]+)`", row.split("|")[1])
        for method in row.split("|")[2].replace(",", " ").split()
    }
    served = {
        (route.path, method)
        for route in ROUTES
        for method in (route.methods or ())
        if method != "HEAD" and not route.path.endswith(".css")
    }
    assert told == served


@pytest.mark.parametrize("name", EVENTS)
def test_every_event_is_there(name: str) -> None:
    event = EVENTS[name]
    kind, subtype = event["type"]["code"], event["subtype"][0]["code"]
    rows = [line for line in PAGE.splitlines() if f"| {kind}, " in line and subtype in line]
    assert rows, f"{kind}, {subtype} is not told"
    if name in PROFILES:
        assert any(PROFILES[name].rpartition("/")[2] in row for row in rows)


def test_the_kind_of_token_is_there() -> None:
    assert f"`{ACCESS}`" in PAGE
