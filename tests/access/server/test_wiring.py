"""When the authorization server is on, and that it is nowhere where that is unsafe."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from caretrail.app import Server
from caretrail.config import load
from caretrail.errors import ConfigurationError
from caretrail.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

HERE = "http://127.0.0.1:8080"


def _asked(tmp_path: Path, address: str, path: str, **given: Any) -> tuple[bool, int]:
    """Return whether people can sign in, and how an address of the sign-in answers."""

    async def main() -> tuple[bool, int]:
        server = Server(Settings(data=tmp_path / "data", **given))
        async with server.opened(address) as application:
            transport = httpx.ASGITransport(application)
            async with httpx.AsyncClient(transport=transport, base_url=address) as client:
                answer = await client.get(path)
        return server.authorization is not None, answer.status_code

    return asyncio.run(main())


def test_it_is_on_by_default_on_loopback(tmp_path: Path) -> None:
    assert _asked(tmp_path, HERE, "/auth/sign-in") == (True, 200)


def test_it_is_on_behind_https(tmp_path: Path) -> None:
    public = "https://audit.example.org"
    found = _asked(tmp_path, "http://0.0.0.0:8080", "/auth/jwks", host="0.0.0.0", public_url=public)
    assert found == (True, 200)


@pytest.mark.parametrize(
    ("address", "given"),
    [
        (HERE, {"authorization_server": False}),
        (HERE, {"insecure_no_auth": True}),
        ("http://0.0.0.0:8080", {"host": "0.0.0.0"}),
        (HERE, {"public_url": "http://audit.example.org"}),
    ],
)
def test_it_is_off_where_it_is_unsafe_or_unwanted(
    tmp_path: Path, address: str, given: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    on, status = _asked(tmp_path, address, "/auth/sign-in", **given)
    assert not on
    assert status in (401, 404)
    assert not (tmp_path / "data" / "authorization.sqlite").exists()
    is_unsafe = "host" in given or "public_url" in given
    assert ("nobody can sign in" in caplog.text) is is_unsafe


@pytest.mark.parametrize(
    "given",
    [
        {"access_token_seconds": 5},
        {"access_token_seconds": 86_400},
        {"refresh_token_hours": 0},
        {"session_idle_minutes": 0},
    ],
    ids=str,
)
def test_a_time_that_cannot_be_is_refused(given: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError):
        Settings(**given)


def test_a_flag_switches_it_off() -> None:
    assert load({}, environment={}).authorization_server
    assert not load({"authorization_server": False}, environment={}).authorization_server
    text = {"CARETRAIL_AUTHORIZATION_SERVER": "off"}
    assert not load({}, environment=text).authorization_server
