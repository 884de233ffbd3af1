"""NATS JetStream as the receiver, killed and started again: every event is in the stream, once."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
from typing import TYPE_CHECKING

import nats
import pytest
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from tests.feeding.running import arr, toml, until

if TYPE_CHECKING:
    from pathlib import Path

    from nats.js import JetStreamContext

SERVER = shutil.which("nats-server", path="/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/bin")
pytestmark = pytest.mark.skipif(SERVER is None, reason="nats-server is not installed")


class Server:
    """A server with JetStream in a folder, on a port that stays."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert SERVER is not None
        command = [SERVER, "-js", "-sd", str(self.folder), "-a", "127.0.0.1", "-p", str(self.port)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(60)
            self.process = None

    async def _with(self, work):  # type: ignore[no-untyped-def]
        client = await nats.connect(
            f"nats://127.0.0.1:{self.port}", allow_reconnect=False, error_cb=_quiet
        )
        try:
            return await work(client.jetstream())
        finally:
            await client.close()

    def count(self) -> int:
        """Return how many messages the stream has; make the stream where there is none."""

        async def work(stream: JetStreamContext) -> int:
            try:
                found = await stream.stream_info("AUDIT")
            except NotFoundError:
                found = await stream.add_stream(name="AUDIT", subjects=["audit.>"])
            return int(found.state.messages)

        try:
            return int(asyncio.run(self._with(work)))
        except (NatsError, OSError):
            return -1

    def bodies(self, count: int) -> list[bytes]:
        async def work(stream: JetStreamContext) -> list[bytes]:
            return [
                (await stream.get_msg("AUDIT", seq=number)).data or b""
                for number in range(1, count + 1)
            ]

        found: list[bytes] = asyncio.run(self._with(work))
        return found


async def _quiet(_: Exception) -> None:
    pass


def test_every_event_is_in_the_stream_once_whoever_is_killed(tmp_path: Path) -> None:
    server = Server(tmp_path / "nats")
    feeds = toml(
        tmp_path / "feeds.toml",
        name="bus",
        kind="nats",
        address=f"nats://127.0.0.1:{server.port}",
        subject="audit.events",
        filter="type=110110",
    )
    total = 0
    try:
        with arr(tmp_path / "log", "--feeds", str(feeds)) as one:
            for round_ in range(4):
                one.record(*[f"{round_}-{number}" for number in range(300)])
                total += 300
                if round_ == 0:
                    until(lambda: one.ready()["feeds"]["bus"]["status"] != "ok", "an outage")
                    server.start()
                    until(lambda: server.count() >= 0, "a stream")
                elif round_ == 1:
                    until(lambda: server.count() > 0, "some of it")
                    server.kill()
                    one.kill()
                    server.start()
                    one.start()
            until(lambda: server.count() >= total, "all of it")
            assert server.count() == total
            assert b'"outcomeDesc":"0-0"' in server.bodies(1)[0]
    finally:
        server.kill()
