"""The clinic's libraries are an extra: without them the repository is whole, and says what it lacks."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

WITHOUT = """
import sys
for name in ("fhirclient", "fhirpathpy", "jsonpatch", "jsonpointer"):
    sys.modules[name] = None
"""
SERVE = "from caretrail.cli import main; main()"


def _run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_repository_does_without_the_extra() -> None:
    code = f"{WITHOUT}\nimport caretrail.app, caretrail.commands, caretrail.transport.switch"
    found = _run(code)
    assert found.returncode == 0, found.stderr


def test_who_lacks_the_extra_is_told_its_name(tmp_path: Path) -> None:
    found = _run(WITHOUT + SERVE, "serve", "--clinic", "--data", str(tmp_path), "--port", "0")
    assert found.returncode == 2
    assert "its extra, clinic" in found.stderr
