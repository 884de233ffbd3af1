"""A real `caretrail witness` in a process of its own."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from tests.serving import serving

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Mapping
    from pathlib import Path

COMMAND = (sys.executable, "-c", "from caretrail.cli import main; main()", "witness")


class Running(NamedTuple):
    """A witness, and the three lines that it has said."""

    process: subprocess.Popen[str]
    address: str
    vkey: str
    policy_line: str


@contextmanager
def witness(
    folder: Path, *arguments: str, environment: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """Run a witness with its data in `folder`, on a free port, and stop it in the end."""
    folder.mkdir(exist_ok=True)
    command = [*COMMAND, "--data", str(folder / "data"), "--port", "0", *arguments]
    with serving(
        command, folder=folder, environment={**os.environ, **(environment or {})}
    ) as served:
        output = served.process.stdout
        assert output is not None
        vkey, line = output.readline().strip(), output.readline().strip()
        yield Running(served.process, served.address, vkey, line)
