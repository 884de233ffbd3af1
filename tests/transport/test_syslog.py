"""Syslog in: what is sent by any transport is durable and found, and nobody hurts anybody else."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from caretrail import limits, tls
from caretrail.access.certificates import Certificates, Registered
from caretrail.errors import ConfigurationError, StoreError
from caretrail.fhir.intake import Form
from caretrail.search.query import parse
from caretrail.search.record import Flag, Record
from caretrail.transport import syslog as module
from caretrail.transport.syslog import Ports, Rules, Syslog
from caretrail.transport.syslog_queue import figures
from tests.access.test_tls import made, pem, written
from tests.storage import world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path

    from caretrail.repository import Repository

MESSAGE = (
    '<AuditMessage><EventIdentification EventActionCode="R" EventDateTime="2026-11-25T09:00:00Z"'
    ' EventOutcomeIndicator="0"><EventID csd-code="110103" codeSystemName="DCM"'
    ' originalText="DICOM Instances Accessed"/></EventIdentification>'
    '<ActiveParticipant UserID="{user}" UserIsRequestor="true"/>'
    '<AuditSourceIdentification AuditSourceID="pacs"/></AuditMessage>'
)
SECONDS = 60.0


def frame(user: str, *, bom: bool = False) -> bytes:
    mark = "\ufeff" if bom else ""
    head = "<85>1 2026-11-25T09:00:01.5Z pacs.example pacs 12 IHE+RFC-3881 - "
    return (head + mark + MESSAGE.format(user=user)).encode()


def counted(message: bytes) -> bytes:
    return b"%d %s" % (len(message), message)


def user(record: Record) -> str | None:
    who = record.event.agent[0].who
    assert who is not None
    assert who.identifier is not None
    return who.identifier.value


async def stored(repository: Repository, count: int) -> list[Record]:
    """Return the events once there are so many, in the order of the log."""
    query = parse([("_count", "1000")], base="http://x", strict=True, now=world.END)
    async with asyncio.timeout(SECONDS):
        while repository.size < count:
            await asyncio.sleep(0.01)
    found = [record async for record in repository.every(query)]
    return sorted(found, key=lambda record: record.entry)


@asynccontextmanager
async def listening(
    folder: Path, ports: Ports, **options: Any
) -> AsyncIterator[tuple[Syslog, Repository]]:
    repository = world.opened(folder)
    try:
        syslog = Syslog(repository, ports, **options)
        await syslog.start()
        try:
            yield syslog, repository
        finally:
            await syslog.close()
    finally:
        await repository.close()


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


async def send(port: int, data: bytes, *, context: ssl.SSLContext | None = None) -> None:
    _, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname="localhost" if context else None
    )
    writer.write(data)
    await writer.drain()
    writer.close()
    await writer.wait_closed()


def test_messages_over_tcp_are_stored_in_order_with_their_bytes(tmp_path: Path) -> None:
    async def test() -> None:
        sent = [frame(f"u{n}", bom=n % 2 == 1) for n in range(600)]
        async with listening(tmp_path, Ports(tcp=0)) as (syslog, repository):
            await send(syslog.opened["tcp"], b"".join(map(counted, sent)))
            found = await stored(repository, len(sent))
            counts = dict(figures(syslog.intake))
        assert [record.body for record in found] == sent
        assert {record.form for record in found} == {Form.SYSLOG}
        assert {record.producer for record in found} == {"syslog-tcp:127.0.0.1"}
        assert user(found[7]) == "u7"
        assert counts["frames"] == {"tcp": 600}
        assert counts["bytes"] == {"tcp": sum(map(len, sent))}

    run(test)


def test_datagrams_are_stored_whatever_they_hold(tmp_path: Path) -> None:
    async def test() -> None:
        sent = [frame("u1"), b"\xff\xfe\x00", frame("u2")[:-60], b"x" * 60_000]
        async with listening(tmp_path, Ports(udp=0)) as (syslog, repository):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                for number, data in enumerate(sent, 1):
                    sender.sendto(data, ("127.0.0.1", syslog.opened["udp"]))
                    await stored(repository, number)
            found = await stored(repository, len(sent))
        assert [record.body for record in found] == sent
        unparsed = [Flag.UNPARSED in record.flags for record in found]
        assert unparsed == [False, True, False, True]
        assert Flag.DEVIANT in found[2].flags
        assert user(found[2]) == "u2"

    run(test)


def test_a_message_of_one_mebibyte_is_kept_whole(tmp_path: Path) -> None:
    async def test() -> None:
        large = frame("u1") + b"<!--" + b"x" * (1024 * 1024 - 10_000) + b"-->"
        async with listening(tmp_path, Ports(tcp=0)) as (syslog, repository):
            await send(syslog.opened["tcp"], counted(large))
            (found,) = await stored(repository, 1)
        assert found.body == large
        assert not found.flags & (Flag.TRUNCATED | Flag.UNPARSED | Flag.DEVIANT)

    run(test)


def test_half_a_message_is_kept_when_its_sender_goes_away_or_stops(tmp_path: Path) -> None:
    async def test() -> None:
        rules = Rules(frame_seconds=0.2)
        async with listening(tmp_path, Ports(tcp=0), rules=rules) as (syslog, repository):
            await send(syslog.opened["tcp"], counted(frame("u1"))[:-30])
            await stored(repository, 1)
            reader, writer = await asyncio.open_connection("127.0.0.1", syslog.opened["tcp"])
            writer.write(counted(frame("u2")) + counted(frame("u3"))[:-30])
            assert await reader.read() == b""  # It is closed, as nothing more comes.
            writer.close()
            found = await stored(repository, 3)
        assert [Flag.TRUNCATED in record.flags for record in found] == [True, False, True]
        assert [user(record) for record in found] == ["u1", "u2", "u3"]

    run(test)


def test_a_stream_without_messages_is_kept_and_closed(tmp_path: Path) -> None:
    async def test() -> None:
        noise = b"\n".join(
            b"noise" + counted(b"<1>1x") for _ in range(limits.SYSLOG_STRAYS_MAX + 1)
        )
        async with listening(tmp_path, Ports(tcp=0)) as (syslog, repository):
            reader, writer = await asyncio.open_connection("127.0.0.1", syslog.opened["tcp"])
            writer.write(noise)
            assert await reader.read() == b""
            writer.close()
            found = await stored(repository, 2 * limits.SYSLOG_STRAYS_MAX + 2)
        assert (
            b"".join(record.body for record in found).count(b"noise")
            == limits.SYSLOG_STRAYS_MAX + 1
        )

    run(test)


def test_one_address_has_so_many_connections_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SYSLOG_CONNECTIONS_PEER_MAX", 2)

    async def test() -> None:
        async with listening(tmp_path, Ports(tcp=0)) as (syslog, repository):
            port = syslog.opened["tcp"]
            held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
            for _, writer in held:
                writer.write(counted(frame("u1")))
            await stored(repository, 2)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            with suppress(ConnectionError):
                assert await reader.read() == b""
            assert dict(figures(syslog.intake))["refused"] == {"tcp": 1}
            for _, one in (*held, (reader, writer)):
                one.close()
            async with asyncio.timeout(SECONDS):
                while syslog.connections:
                    await asyncio.sleep(0.01)
            await send(port, counted(frame("u2")))
            await stored(repository, 3)

    run(test)


def test_while_the_store_takes_nothing_a_peer_is_held_up_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from caretrail.transport import syslog_queue

    monkeypatch.setattr(syslog_queue, "SYSLOG_PEER_BYTES_MAX", 50_000)
    monkeypatch.setattr(syslog_queue, "SYSLOG_BATCH_ENTRIES", 20)
    sent = [frame(f"u{n}") for n in range(400)]

    async def test() -> None:
        async with listening(tmp_path, Ports(tcp=0)) as (syslog, repository):
            append, failing = repository.append, True

            async def fails_at_first(*args: Any, **options: Any) -> Any:
                if failing:
                    raise StoreError("the disk is full")
                return await append(*args, **options)

            monkeypatch.setattr(repository, "append", fails_at_first)
            sending = asyncio.create_task(send(syslog.opened["tcp"], b"".join(map(counted, sent))))
            async with asyncio.timeout(SECONDS):
                while syslog.intake.held < 50_000:
                    await asyncio.sleep(0.01)
            assert repository.size == 0
            assert syslog.intake.held < 1_000_000
            assert syslog.intake.lag > 0
            failing = False
            found = await stored(repository, len(sent))
            await sending
            async with asyncio.timeout(SECONDS):
                while syslog.intake.queues:
                    await asyncio.sleep(0.01)
            assert syslog.intake.held == 0
        assert sorted(record.body for record in found) == sorted(sent)

    run(test)


def test_a_datagram_for_a_full_queue_is_refused_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from caretrail.transport import syslog_queue

    monkeypatch.setattr(syslog_queue, "SYSLOG_ALL_BYTES_MAX", 0)

    async def test() -> None:
        async with listening(tmp_path, Ports(udp=0)) as (syslog, repository):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.sendto(frame("u1"), ("127.0.0.1", syslog.opened["udp"]))
            async with asyncio.timeout(SECONDS):
                while not syslog.intake.figures.refused:
                    await asyncio.sleep(0.01)
            assert repository.size == 0

    run(test)


def test_what_was_sent_before_a_stop_is_stored_before_it(tmp_path: Path) -> None:
    async def test() -> None:
        sent = [frame(f"u{n}") for n in range(700)]
        repository = world.opened(tmp_path)
        syslog = Syslog(repository, Ports(tcp=0))
        await syslog.start()
        _, writer = await asyncio.open_connection("127.0.0.1", syslog.opened["tcp"])
        writer.write(b"".join(map(counted, sent)))
        async with asyncio.timeout(SECONDS):
            while syslog.intake.figures.frames.get("tcp", 0) < len(sent):
                await asyncio.sleep(0)
        await syslog.close()
        assert repository.size == len(sent)
        writer.close()
        await repository.close()

    run(test)


def test_a_port_that_is_taken_is_a_clear_error(tmp_path: Path) -> None:
    async def test() -> None:
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            with pytest.raises(ConfigurationError, match="choose another"):
                async with listening(tmp_path, Ports(tcp=other.getsockname()[1])):
                    pass
        with pytest.raises(ConfigurationError, match="--tls-cert"):
            async with listening(tmp_path / "b", Ports(tls=0)):
                pass

    run(test)


def test_over_tls_only_sources_that_are_known_may_send(tmp_path: Path) -> None:
    async def test() -> None:
        authority = made("hospital")
        server = written(tmp_path, "server", made("localhost", authority))
        (tmp_path / "clients.pem").write_bytes(pem(authority[0]))
        files = tls.Files(server, client_ca=tmp_path / "clients.pem")
        context = tls.context(files, required=True)

        def client(name: str) -> ssl.SSLContext:
            found = ssl.create_default_context(cadata=pem(authority[0]).decode())
            if name:
                found.load_cert_chain(written(tmp_path, name, made(name, authority)))
            return found

        denied: list[str] = []

        async def deny(peer: str) -> None:
            denied.append(peer)

        row = Registered("pacs-7", "north", subject="pacs", observer="urn:x|another")
        rules = Rules(Certificates([row]).find, denied=deny)
        ports = Ports(tls=0)
        async with listening(tmp_path, ports, rules=rules, context=context) as (syslog, repository):
            port = syslog.opened["tls"]
            await send(port, counted(frame("u1")), context=client("pacs"))
            with suppress(OSError):
                await send(port, counted(frame("u2")), context=client("other"))
            with suppress(OSError):
                await send(port, counted(frame("u3")), context=client(""))
            await send(port, counted(frame("u4")), context=client("pacs"))
            found = await stored(repository, 2)
            async with asyncio.timeout(SECONDS):
                while not denied:
                    await asyncio.sleep(0.01)
        assert [record.body for record in found] == [frame("u1"), frame("u4")]
        assert {(one.producer, one.organisation) for one in found} == {("pacs-7", "north")}
        assert all(Flag.OBSERVER_MISMATCH in record.flags for record in found)
        assert denied == ["127.0.0.1"]

    run(test)
