"""A server that speaks TLS, with a certificate of a private authority, and packs what it sends."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.gateway import certificates
from tests.gateway.town import CARETRAIL, ROOT, UPSTREAM, Town

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.gateway.certificates import Made
    from tests.gateway.town import Process


class SecureTown(Town):
    """A town whose server speaks TLS."""

    scheme = "https"

    def __init__(self, folder: Path, made: Made) -> None:
        super().__init__(folder)
        self.made = made

    def upstream(self) -> Process:
        port = str(self.ports["upstream"])
        return self._run("upstream", UPSTREAM, port, str(self.made.server))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureTown]:
    folder = tmp_path_factory.mktemp("secure")
    town = SecureTown(folder, certificates.make(folder))
    try:
        town.upstream()
        town.repository()
        town.gateway("--upstream-ca-file", str(town.made.authority))
        yield town
    finally:
        town.close()


def _recorded(place: SecureTown, name: str) -> list[dict[str, object]]:
    place.drain()
    return [event for event in place.events() if name in json.dumps(event)]


def test_a_server_with_a_certificate_of_a_private_authority_is_asked(place: SecureTown) -> None:
    with httpx.Client(base_url=place.base, timeout=30) as client:
        answer = client.get("/Patient/1", headers={"x-request-id": "tls-read"})
        assert answer.json() == {"resourceType": "Patient", "id": "1"}
        body = {"resourceType": "Observation"}
        made = client.post("/Observation", json=body, headers={"x-request-id": "tls-create"})
    assert made.headers["location"] == f"{place.base}/Observation/7/_history/1"
    assert len(_recorded(place, "tls-read")) == len(_recorded(place, "tls-create")) == 1


def test_what_is_packed_and_in_chunks_is_read_rewritten_and_recorded(place: SecureTown) -> None:
    with httpx.Client(base_url=place.base, timeout=30) as client:
        answer = client.get("/$packed", headers={"x-request-id": "tls-packed"})
    assert "content-encoding" not in answer.headers
    assert answer.json()["entry"][0]["fullUrl"] == f"{place.base}/Observation/3"
    (event,) = _recorded(place, "tls-packed")
    assert '"Patient/3"' in json.dumps(event)


def test_what_is_packed_passes_as_it_is_where_the_base_is_the_same(tmp_path: Path) -> None:
    town = SecureTown(tmp_path, certificates.make(tmp_path))
    try:
        town.upstream()
        town.repository()
        own = f"https://127.0.0.1:{town.ports['upstream']}/fhir"
        town.gateway("--upstream-ca-file", str(town.made.authority), "--public-url", own)
        with httpx.Client(base_url=town.base, timeout=30) as client:
            answer = client.get("/$packed", headers={"x-request-id": "tls-same"})
        assert answer.headers["content-encoding"] == "gzip"
        assert answer.json()["entry"][0]["fullUrl"] == f"{own}/Observation/3"
        (event,) = _recorded(town, "tls-same")
        assert '"Patient/3"' in json.dumps(event)
    finally:
        town.close()


def test_a_server_with_another_certificate_is_not_asked(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    stranger = certificates.make(other)
    town = SecureTown(tmp_path, certificates.make(tmp_path))
    try:
        town.upstream()
        town.repository()
        town.gateway("--upstream-ca-file", str(stranger.authority))
        with httpx.Client(base_url=town.base, timeout=30) as client:
            answer = client.get("/Patient/1", headers={"x-request-id": "tls-stranger"})
        assert answer.status_code == 502
        (event,) = _recorded(town, "tls-stranger")
        assert event["outcomeDesc"] == "no connection to the server"
    finally:
        town.close()


@pytest.mark.parametrize("name", ["upstream", "repository"])
def test_a_file_that_holds_no_certificates_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty.pem").write_text("")
    arguments = [
        "gateway", "--upstream", "https://127.0.0.1:1/fhir", "--repository",
        "https://127.0.0.1:1/fhir", "--port", "0", "--spool", str(tmp_path / "spool"),
        f"--{name}-ca-file", str(tmp_path / "empty.pem"),
    ]  # fmt: skip
    told = subprocess.run(
        [sys.executable, "-c", CARETRAIL, *arguments],
        capture_output=True, text=True, timeout=120, check=False, cwd=ROOT,
    )  # fmt: skip
    assert told.returncode == 2
    assert f"--{name}-ca-file" in told.stderr
