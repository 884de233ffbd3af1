"""What README and the tutorial show is what happens: their commands are run, in their order."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.serving import serving

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = (
    "README.md",
    "docs/tutorial/first-log.md",
    "docs/how-to/export-evidence.md",
    "docs/how-to/host-several-logs.md",
)
_BLOCK: Final = re.compile(r"^```(sh|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_END: Final = "-- end of a block --"
# What differs from run to run, and what stands for it in a comparison.
_CHANGING: Final = (
    (re.compile(r"http://127\.0\.0\.1:\d+"), "ADDRESS"),
    (re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "ID"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "HASH"),
    (re.compile(r'"lastUpdated": ?"[^"]+"'), "RECEIVED"),
    (re.compile(r"_page=[\w-]+"), "PAGE"),
)


class Step(NamedTuple):
    """A command of the page, and what the page says that it prints."""

    command: str
    shown: str


def steps(page: str) -> list[Step]:
    """Return the commands of a page that are followed by what they print."""
    blocks = _BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))
    found = []
    for n, (kind, text) in enumerate(blocks):
        if kind == "sh":
            shown = blocks[n + 1][1] if blocks[n + 1 : n + 2] and blocks[n + 1][0] == "text" else ""
            found.append(Step(text, shown))
    return found


def comparable(text: str) -> str:
    """Return the text without what differs from run to run."""
    for pattern, name in _CHANGING:
        text = pattern.sub(name, text)
    return text.strip()


@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_what_happens(page: str, tmp_path: Path) -> None:
    """Run the first command as the server and the others in one shell beside it."""
    server, *others = steps(page)
    assert "caretrail serve" in server.command
    assert others
    binaries = Path(sys.executable).parent
    command = server.command.strip().replace(".venv/bin", str(binaries)).split()
    with serving([*command, "--port", "0"], folder=tmp_path) as served:
        assert comparable(served.said) == comparable(server.shown).splitlines()[0]
        script = "".join(f"{step.command}echo '{_END}'\n" for step in others)
        script = script.replace(".venv/bin", str(binaries))
        script = script.replace("http://127.0.0.1:8080", served.address)
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=tmp_path,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    printed = done.stdout.split(f"{_END}\n")[:-1]
    assert len(printed) == len(others), done.stderr
    for step, text in zip(others, printed, strict=True):
        assert comparable(text) == comparable(step.shown), f"{step.command}\n{done.stderr}"
