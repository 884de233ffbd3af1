"""The wheel is whole: what it installs serves and verifies without the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Final
from zipfile import ZipFile

import pytest

from tests.serving import serving

ROOT: Final = Path(__file__).parents[2]
SOURCE: Final = ROOT / "src"
EVENT: Final = {
    "resourceType": "AuditEvent",
    "type": {"system": "http://terminology.hl7.org/CodeSystem/audit-event-type", "code": "rest"},
    "action": "R",
    "recorded": "2026-11-24T09:30:00Z",
    "outcome": "0",
    "agent": [{"who": {"reference": "Practitioner/p"}, "requestor": True}],
    "source": {"observer": {"reference": "Device/d"}},
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel with the tools of this environment, without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    _pip("wheel", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT))
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    package = SOURCE / "caretrail"
    expected = {
        str(path.relative_to(SOURCE))
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert "caretrail/py.typed" in expected
    assert any(name.endswith(".zdict") for name in expected)
    evidence = ("README.txt", "verify.py", "verify.html")
    assert {f"caretrail/evidence/{name}" for name in evidence} <= expected
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert expected <= names
    assert any(name.endswith("/licenses/LICENSE") for name in names)


def test_what_the_wheel_installs_serves_and_verifies(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "installed"
    _pip("install", "--target", str(target), str(wheel))
    environment = {**os.environ, "PYTHONPATH": str(target), "PYTHONSAFEPATH": "1"}
    where = "import caretrail; print(caretrail.__file__)"
    assert _run([sys.executable, "-c", where], tmp_path, environment).startswith(str(target))
    caretrail = [sys.executable, str(target / "bin" / "caretrail")]
    with serving(
        [*caretrail, "serve", "--port", "0"], folder=tmp_path, environment=environment
    ) as served:
        with urllib.request.urlopen(f"{served.address}/health/ready", timeout=10) as ready:
            assert ready.status == 200
        secret = (tmp_path / "caretrail-data" / "token").read_text().strip()
        request = urllib.request.Request(
            f"{served.address}/fhir/AuditEvent",
            json.dumps(EVENT).encode(),
            {"Authorization": f"Bearer {secret}", "Content-Type": "application/fhir+json"},
        )
        with urllib.request.urlopen(request, timeout=10) as created:
            assert created.status == 201
    assert served.process.returncode == 0
    said = _run([*caretrail, "verify", "caretrail-data"], tmp_path, environment)
    # Its settings, its start and its stop are entries, too.
    assert said.startswith("whole: 4 ")


def _pip(command: str, *arguments: str) -> None:
    quiet = ("--quiet", "--disable-pip-version-check", "--no-index", "--no-deps")
    _run([sys.executable, "-m", "pip", command, *quiet, *arguments], ROOT, dict(os.environ))


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
