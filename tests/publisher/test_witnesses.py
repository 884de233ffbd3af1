"""The log's side of witnessing: real witnesses, and servers that are slow, wrong or hostile."""

from __future__ import annotations

import asyncio
import gzip
import ssl
import time
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from caretrail.errors import VerificationError
from caretrail.limits import WITNESS_REQUEST_BYTES_MAX
from caretrail.publisher.witnesses import Trouble, Witnesses
from caretrail.tlog.cosignature import Cosigner
from caretrail.tlog.keys import Ed25519PrivateKey
from caretrail.tlog.policy import Policy
from caretrail.tlog.witness import Request
from tests.publisher.answering import NEVER, answering, http
from tests.publisher.log import Log
from tests.witness.running import witness

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOW = 1_700_000_000
COSIGNER = Cosigner("w.example/w", Ed25519PrivateKey(b"W" * 32))


def policy(log: Log, lines: list[str], quorum: str) -> Policy:
    text = [f"log {log.vkey}", *lines, quorum]
    return Policy.parse("\n".join([*text, ""]).encode())


def line(url: str, *, name: str = "w") -> str:
    return f"witness {name} {COSIGNER.key.format()} {url}"


def cosigning(body: bytes) -> bytes:
    """Answer as a witness does that has never seen the log."""
    return http(200, COSIGNER.cosign(Request.parse(body).note.text, time=NOW).format().encode())


def test_a_quorum_of_real_witnesses_cosigns_what_a_policy_accepts(tmp_path: Path) -> None:
    log = Log(tmp_path, size=5)
    with (
        witness(tmp_path / "a", "--name", "a.example/w", "--log", log.vkey) as a,
        witness(tmp_path / "b", "--name", "b.example/w", "--log", log.vkey) as b,
    ):
        lines = [a.policy_line, b.policy_line]
        both = policy(log, [*lines, "group both all a.example/w b.example/w"], "quorum both")

        async def publish() -> None:
            witnesses = Witnesses(both, log.prove)
            begun = int(time.time())
            try:
                for count in (0, 1, 2, 40, 0):
                    log.grow(count)
                    witnessed = await witnesses.cosign(await log.note())
                    assert witnessed.quorum
                    accepted = both.accept(witnessed.note)
                    assert accepted.witnesses == witnessed.witnesses
                    assert accepted.checkpoint.size == len(log.leaves)
                for state in witnesses.states():
                    assert (state.size, state.trouble) == (48, "")
                    assert state.time is not None
                    assert begun <= state.time <= time.time()
                # An older checkpoint is not asked for at all.
                behind = await witnesses.cosign(await log.note(7))
                assert not behind.quorum
                assert {one.trouble for one in witnesses.states()} == {Trouble.AHEAD}
            finally:
                await witnesses.close()
            # A log that was started again knows nothing of its witnesses, and is told.
            again = Witnesses(both, log.prove)
            log.grow(3)
            assert (await again.cosign(await log.note())).quorum
            await again.close()
            with pytest.raises(VerificationError, match="too few witnesses"):
                both.accept(await log.note())

        asyncio.run(publish())


def test_a_forked_log_finds_no_quorum_and_is_called_what_it_is(tmp_path: Path) -> None:
    log = Log(tmp_path, size=5)
    with witness(tmp_path / "a", "--name", "a.example/w", "--log", log.vkey) as a:
        one = policy(log, [a.policy_line], "quorum a.example/w")

        async def publish() -> None:
            witnesses = Witnesses(one, log.prove)
            assert (await witnesses.cosign(await log.note())).quorum
            log.grow(2)
            log.forge()
            assert not (await witnesses.cosign(await log.note())).quorum
            (state,) = witnesses.states()
            assert (state.size, state.trouble) == (5, Trouble.INCONSISTENT)
            await witnesses.close()

        asyncio.run(publish())


def test_a_slow_and_a_dead_witness_hold_up_nobody(tmp_path: Path) -> None:
    log = Log(tmp_path, size=5)

    async def publish() -> None:
        async with answering(cosigning) as good, answering(lambda _: NEVER) as slow:
            stranger = Cosigner("s.example/w", Ed25519PrivateKey(b"S" * 32)).key.format()
            dead = Cosigner("d.example/w", Ed25519PrivateKey(b"D" * 32)).key.format()
            lines = [
                line(good),
                f"witness slow {stranger} {slow}",
                f"witness dead {dead} http://127.0.0.1:9/",
            ]
            some = policy(log, [*lines, "group some any w slow dead"], "quorum some")
            witnesses = Witnesses(some, log.prove, timeout_seconds=4)
            begun = time.monotonic()
            for _ in range(2):
                witnessed = await witnesses.cosign(await log.note())
                assert (witnessed.quorum, [one.name for one in witnessed.witnesses]) == (
                    True,
                    ["w"],
                )
            assert time.monotonic() - begun < 3
            troubles = {one.name: one.trouble for one in witnesses.states()}
            assert troubles == {"w": "", "slow": "", "dead": Trouble.UNREACHABLE}
            await witnesses.close()
            # Where the slow one is needed, it is waited for, and not for ever.
            needed = policy(log, [*lines, "group most 2 w slow dead"], "quorum most")
            witnesses = Witnesses(needed, log.prove, timeout_seconds=0.5)
            witnessed = await witnesses.cosign(await log.note())
            assert not witnessed.quorum
            assert len(witnessed.note.signatures) == 2
            troubles = {one.name: one.trouble for one in witnesses.states()}
            assert troubles["slow"] == Trouble.TIMEOUT
            await witnesses.close()

    asyncio.run(publish())


def test_who_failed_is_left_alone_for_longer_and_longer_and_comes_back(tmp_path: Path) -> None:
    log, now, broken = Log(tmp_path, size=5), [0.0], True
    asked: list[float] = []

    def answer(body: bytes) -> bytes:
        asked.append(now[0])
        return http(500) if broken else cosigning(body)

    async def publish() -> None:
        nonlocal broken
        async with answering(answer) as url:
            one = policy(log, [line(url)], "quorum w")
            witnesses = Witnesses(one, log.prove, monotonic=lambda: now[0])
            while now[0] < 1500:
                await witnesses.cosign(await log.note())
                now[0] += 0.5
            assert asked[:6] == [0, 1, 3, 7, 15, 31]
            assert asked[-1] - asked[-2] == 300
            assert witnesses.states()[0].trouble == Trouble.REFUSED
            broken = False
            now[0] += 300
            assert (await witnesses.cosign(await log.note())).quorum
            assert witnesses.states()[0] == ("w", 5, NOW, "")
            # The count begins anew.
            broken, before = True, len(asked)
            for _ in range(4):
                await witnesses.cosign(await log.note())
                now[0] += 0.5
            assert len(asked) == before + 2
            await witnesses.close()

    asyncio.run(publish())


def _sizes() -> Callable[[bytes], bytes]:
    sizes = iter((b"1\n", b"2\n", b"3\n", b"4\n"))
    return lambda _: http(409, next(sizes), media="text/x.tlog.size")


WRONG: list[tuple[str, Callable[[bytes], bytes], Trouble]] = [
    ("moves on", lambda _: http(302, more="Location: http://127.0.0.1:9/\r\n"), Trouble.REDIRECTED),
    ("does not know the log", lambda _: http(404), Trouble.UNKNOWN_LOG),
    ("knows another key", lambda _: http(403), Trouble.SIGNATURE),
    ("saw another history", lambda _: http(422), Trouble.INCONSISTENT),
    ("is ahead", lambda _: http(409, b"9\n", media="text/x.tlog.size"), Trouble.AHEAD),
    ("moves all the time", _sizes(), Trouble.MOVING),
    ("refuses", lambda _: http(418), Trouble.REFUSED),
    ("conflicts without a size", lambda _: http(409, b"9\n"), Trouble.REFUSED),
    ("says nothing", lambda _: http(200), Trouble.ANSWER),
    ("says a size of nonsense", lambda _: http(409, b"x\n", media="text/x.tlog.size"), Trouble.ANSWER),
    ("says too much", lambda _: http(200, b"x" * (WITNESS_REQUEST_BYTES_MAX + 1)), Trouble.ANSWER),
    (
        "sends a bomb",
        lambda _: http(200, gzip.compress(b"x" * 9_000_000), more="Content-Encoding: gzip\r\n"),
        Trouble.ANSWER,
    ),
    ("speaks another protocol", lambda _: b"220 ready\r\n", Trouble.UNREACHABLE),
    (
        "cosigns something else",
        lambda _: http(200, COSIGNER.cosign("a\n1\n" + "A" * 43 + "=\n", time=1).format().encode()),
        Trouble.ANSWER,
    ),
    (
        "cosigns with another key",
        lambda body: http(
            200,
            Cosigner("w.example/w", Ed25519PrivateKey(b"X" * 32))
            .cosign(Request.parse(body).note.text, time=NOW)
            .format()
            .encode(),
        ),
        Trouble.ANSWER,
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "trouble"), [row[1:] for row in WRONG], ids=[r[0] for r in WRONG]
)
def test_a_wrong_answer_is_no_cosignature_and_has_a_name(
    tmp_path: Path, answer: Callable[[bytes], bytes], trouble: Trouble
) -> None:
    log = Log(tmp_path, size=5)

    async def publish() -> None:
        async with answering(answer) as url:
            witnesses = Witnesses(policy(log, [line(url)], "quorum w"), log.prove)
            note = await log.note()
            witnessed = await witnesses.cosign(note)
            assert (witnessed.note, witnessed.witnesses, witnessed.quorum) == (note, (), False)
            assert [one.trouble for one in witnesses.states()] == [trouble]
            await witnesses.close()

    asyncio.run(publish())


@pytest.mark.parametrize(
    ("error", "trouble"),
    [(VerificationError("no proof"), Trouble.PROOF), (KeyError("a bug"), Trouble.FAULT)],
)
def test_a_proof_that_cannot_be_made_costs_one_witness(
    tmp_path: Path, error: Exception, trouble: Trouble
) -> None:
    log = Log(tmp_path, size=5)

    async def prove(**_: int) -> Any:
        raise error

    async def publish() -> None:
        async with answering(lambda _: http(409, b"3\n", media="text/x.tlog.size")) as url:
            witnesses = Witnesses(policy(log, [line(url)], "quorum w"), prove)
            await witnesses.cosign(await log.note())
            assert witnesses.states()[0].trouble == trouble
            await witnesses.close()

    asyncio.run(publish())


def test_without_a_quorum_to_wait_for_the_log_goes_on(tmp_path: Path) -> None:
    log = Log(tmp_path, size=5)

    async def publish() -> None:
        async with answering(lambda _: NEVER) as slow:
            lines = [
                line(slow),
                f"witness silent {Cosigner('x', Ed25519PrivateKey(b'X' * 32)).key.format()}",
            ]
            witnesses = Witnesses(policy(log, lines, "quorum none"), log.prove)
            begun = time.monotonic()
            assert (await witnesses.cosign(await log.note())).quorum
            assert time.monotonic() - begun < 3
            assert [one.name for one in witnesses.states()] == ["w"]
            await witnesses.close()

    asyncio.run(publish())


def test_a_certificate_has_to_hold(tmp_path: Path) -> None:
    log = Log(tmp_path, size=5)
    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    begin = datetime.now(UTC) - timedelta(days=1)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=2))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, None)
    )
    pem = tmp_path / "server.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pem.write_bytes(private + certificate.public_bytes(Encoding.PEM))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)

    async def publish() -> None:
        async with answering(cosigning, tls=server) as url:
            one = policy(log, [line(url)], "quorum w")
            for tls, trouble in (
                (None, Trouble.UNREACHABLE),
                (ssl.create_default_context(cafile=str(pem)), Trouble.NONE),
            ):
                witnesses = Witnesses(one, log.prove, tls=tls)
                await witnesses.cosign(await log.note())
                assert witnesses.states()[0].trouble == trouble
                await witnesses.close()

    asyncio.run(publish())
