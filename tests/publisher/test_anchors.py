"""Anchors: another implementation's time stamps, a real authority, and files that are written once."""

from __future__ import annotations

import asyncio
import base64
import json
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from caretrail.errors import (
    ConfigurationError,
    ConflictError,
    StoreError,
    UnavailableError,
    VerificationError,
)
from caretrail.limits import TIME_STAMP_BYTES_MAX
from caretrail.publisher.anchors import Pinned, TimeStamp, TimeStampAuthority, WriteOnceFolder
from caretrail.tlog.note import Note
from tests.publisher.answering import NEVER, answering, http
from tests.publisher.authority import Authority, needs_openssl
from tests.publisher.log import Log

if TYPE_CHECKING:
    from collections.abc import Callable

SIGSTAGE = Path(__file__).parents[3] / "shared" / "vectors" / "merkle" / "rfc3161" / "sigstage.json"
REPLY = "application/timestamp-reply"
NOW = datetime(2026, 11, 24, 6, 5, tzinfo=UTC)

needs_vectors = pytest.mark.skipif(not SIGSTAGE.exists(), reason="needs ../shared/vectors/merkle")


# Another implementation's answers


def sigstage() -> tuple[list[bytes], dict[str, bytes]]:
    """Return the certificates, the authority's own first, and the responses over "hello"."""
    found: dict[str, Any] = json.loads(SIGSTAGE.read_text())
    end = "-----END CERTIFICATE-----\n"
    pem = [part + end for part in found["ts_chain_pem"].split(end) if part.strip()]
    responses = {name: base64.b64decode(text) for name, text in found["responses"].items()}
    return [one.encode() for one in pem], responses


@needs_vectors
def test_a_time_stamp_of_another_implementation_holds() -> None:
    pem, responses = sigstage()
    own, root = pem
    for certificates in (own + root, root + own, root):
        pinned = Pinned.parse(certificates)
        for name in ("response-sha256", "response-sha512"):
            stamp = pinned.verify(responses[name], b"hello")
            assert stamp.response == responses[name]
            assert stamp.time.date().isoformat() == "2025-05-09"


@needs_vectors
def test_a_time_stamp_that_does_not_fit_is_refused() -> None:
    pem, responses = sigstage()
    pinned, good = Pinned.parse(b"".join(pem)), responses["response-sha256"]
    for response, data, nonce in (
        (responses["response-invalid-signature"], b"hello", None),
        (good, b"hello!", None),
        (good, b"", None),
        (good, b"hello", 1),
        (good[:-1], b"hello", None),
        (b"", b"hello", None),
        (b"x" * (TIME_STAMP_BYTES_MAX + 1), b"hello", None),
    ):
        with pytest.raises(VerificationError):
            pinned.verify(response, data, nonce=nonce)


@needs_vectors
def test_certificates_that_cannot_serve_are_refused() -> None:
    (own, root), _ = sigstage()
    for pem in (b"", b"no certificate", own, root[:-40]):
        with pytest.raises(ConfigurationError):
            Pinned.parse(pem)


# A real authority, on this machine


def stamped(
    authority: Authority, answer: Callable[[bytes], bytes], *, seconds: float = 10
) -> TimeStamp:
    async def stamp() -> TimeStamp:
        async with answering(answer) as url:
            client = TimeStampAuthority(
                url, Pinned.parse(authority.root + authority.own), timeout_seconds=seconds
            )
            try:
                return await client.stamp(b"a checkpoint\n")
            finally:
                await client.close()

    return asyncio.run(stamp())


@needs_openssl
def test_a_real_authority_stamps_over_http_and_others_can_check_it(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tsa")
    stamp = stamped(authority, lambda query: http(200, authority.reply(query), media=REPLY))
    assert abs(stamp.time - datetime.now(UTC)) < timedelta(minutes=1)
    (tmp_path / "reply.tsr").write_bytes(stamp.response)
    (tmp_path / "data").write_bytes(b"a checkpoint\n")
    done = subprocess.run(
        [
            "openssl",
            "ts",
            "-verify",
            "-in",
            "reply.tsr",
            "-data",
            "data",
            "-CAfile",
            "tsa/root.pem",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@needs_openssl
def test_an_answer_that_is_not_the_authoritys_to_this_request_is_not_kept(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path / "tsa"), Authority(tmp_path / "other")
    kept: list[bytes] = []

    def replayed(query: bytes) -> bytes:
        kept.append(authority.reply(query))
        return http(200, kept[0], media=REPLY)

    stamped(authority, replayed)
    for answer in (
        replayed,
        lambda query: http(200, other.reply(query), media=REPLY),
        lambda query: http(200, authority.reply(query)[:-1], media=REPLY),
        lambda _: http(200, b"x" * (TIME_STAMP_BYTES_MAX + 1), media=REPLY),
    ):
        with pytest.raises(VerificationError):
            stamped(authority, answer)


@needs_openssl
def test_an_authority_that_gives_none_is_asked_again_later(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tsa")
    # PKIStatus 2, rejection: a response without a token.
    rejected = bytes.fromhex("30053003020102")
    for answer in (
        lambda _: http(500),
        lambda _: http(302, more="Location: http://127.0.0.1:9/\r\n"),
        lambda query: http(200, authority.reply(query), media="text/html"),
        lambda _: b"220 ready\r\n",
        lambda _: NEVER,
        lambda _: http(200, rejected, media=REPLY),
    ):
        with pytest.raises(UnavailableError):
            stamped(authority, answer, seconds=1)


# The folder


def test_a_checkpoint_is_kept_once_with_its_stamp(tmp_path: Path) -> None:
    log, folder = Log(tmp_path, size=12), WriteOnceFolder(tmp_path / "worm")
    for size in (2, 10, 9):
        note = asyncio.run(log.note(size))
        assert folder.keep(note, TimeStamp(b"stamp", NOW))
        path = tmp_path / "worm" / f"{size}.checkpoint"
        assert path.read_bytes() == note.format()
        assert path.with_suffix(".tsr").read_bytes() == b"stamp"
        assert stat.S_IMODE(path.stat().st_mode) == 0o444
    assert len(list((tmp_path / "worm").iterdir())) == 6


def test_what_was_kept_is_never_written_again(tmp_path: Path) -> None:
    log, folder = Log(tmp_path, size=12), WriteOnceFolder(tmp_path / "worm")
    note = asyncio.run(log.note(5))
    assert folder.keep(note)
    path = tmp_path / "worm" / "5.checkpoint"
    # More cosignatures, the same tree: the first one stays, and a stamp of the other is not its.
    more = note.add([note.signatures[0]._replace(name="w.example/w")])
    assert not folder.keep(more, TimeStamp(b"of another", NOW))
    assert not path.with_suffix(".tsr").exists()
    # A stamp that came later, once.
    assert not folder.keep(note, TimeStamp(b"first", NOW))
    assert not folder.keep(note, TimeStamp(b"second", NOW))
    assert path.with_suffix(".tsr").read_bytes() == b"first"
    log.forge()
    with pytest.raises(ConflictError, match="another checkpoint of this size"):
        folder.keep(asyncio.run(log.note(5)))
    assert Note.parse(path.read_bytes()) == note


def test_a_folder_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    note = asyncio.run(Log(tmp_path, size=5).note())
    folder = WriteOnceFolder(tmp_path / "worm")
    (tmp_path / "worm").rmdir()
    with pytest.raises(StoreError, match="cannot be written"):
        folder.keep(note)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="cannot be made"):
        WriteOnceFolder(tmp_path / "file" / "worm")
