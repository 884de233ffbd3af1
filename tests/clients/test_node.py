"""JavaScript clients that others made, against the clinic and through a gateway before it.

`package-lock.json` says with hashes which versions; npm fetches them once for all tests.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.gateway.town import numbers
from tests.serving import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
CARETRAIL = [sys.executable, "-c", "from caretrail.cli import main; main()"]
LIBRARIES = ["fhir-kit-client", "@medplum/core"]
_INSTALL_SECONDS = 600
_RUN_SECONDS = 300
_ARRIVE_SECONDS = 60

pytestmark = pytest.mark.xdist_group("node")  # One folder of modules for all of them.


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("node and npm are not installed (scripts/install_debian.sh installs them)")
    folder = tmp_path_factory.mktemp("node")
    for name in ("package.json", "package-lock.json", "client.mjs"):
        shutil.copy(HERE / name, folder)
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=5"]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    return folder / "client.mjs"


class Place:
    """A clinic, a gateway before it, and the token of both."""

    def __init__(self, clinic: str, gateway: str, token: str) -> None:
        self.clinic, self.gateway, self.token = clinic, gateway, token


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("place")
    clinic = [*CARETRAIL, "serve", "--clinic", "--data", "data", "--port", "0"]
    with serving(clinic, folder=folder) as server:
        base = f"{server.address}/fhir"
        token = folder / "data" / "token"
        gateway = [
            *CARETRAIL, "gateway", "--upstream", base, "--repository", base, "--port", "0",
            "--token-file", str(token),
        ]  # fmt: skip
        aside = tmp_path_factory.mktemp("gateway")
        with serving(gateway, folder=aside) as running:
            yield Place(base, running.address, token.read_text().strip())


def ask(program: Path, library: str, base: str, token: str) -> str:
    """Run the program; return the patient that it made."""
    done = subprocess.run(
        ["node", str(program), library, base, token],
        capture_output=True, text=True, timeout=_RUN_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2_000:].replace(token, "***")
    made: str = json.loads(done.stdout)["id"]
    return made


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_client_works_with_the_clinic(program: Path, place: Place, library: str) -> None:
    ask(program, library, place.clinic, place.token)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_client_works_through_the_gateway(program: Path, place: Place, library: str) -> None:
    patient = ask(program, library, place.gateway, place.token)
    _arrive(place, patient, {"create", "search-type", "update"})


def _arrive(place: Place, patient: str, wanted: set[str]) -> None:
    """Wait until the gateway, and not the clinic itself, has recorded these of a patient."""
    headers = {"authorization": f"Bearer {place.token}"}
    url = f"{place.clinic}/AuditEvent?patient=Patient/{patient}&_count=100"
    end = time.monotonic() + _ARRIVE_SECONDS
    found: set[str] = set()
    while not wanted <= found:
        assert time.monotonic() < end, found
        page = httpx.get(url, headers=headers, timeout=60).json()
        events = [entry["resource"] for entry in page.get("entry", [])]
        found = {row["code"] for event in events if numbers([event]) for row in event["subtype"]}
        time.sleep(0.1)
