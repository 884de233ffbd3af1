"""`caretrail witness` as a process, over HTTP: what it cosigns, what it refuses, and what it survives."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import signal
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from caretrail.limits import WITNESS_REQUEST_BYTES_MAX
from caretrail.tlog.checkpoint import Checkpoint, SignedCheckpoint, sign
from caretrail.tlog.cosignature import time_of, verifier
from caretrail.tlog.keys import Ed25519PrivateKey
from caretrail.tlog.note import Note, NoteSigner, VerifierKey
from caretrail.tlog.policy import Policy
from caretrail.tlog.witness import Cosignatures, Request, monitoring_path, read_answer
from tests.publisher.log import ORIGIN, Log
from tests.witness.running import COMMAND, Running, witness

if TYPE_CHECKING:
    from collections.abc import Iterator

DIALOGUE = (
    Path(__file__).parents[3] / "shared" / "vectors" / "merkle" / "witness-add-checkpoint.json"
)
NAME = "dpo.example/witness"


def request(log: Log, old: int, new: int | None = None) -> bytes:
    note = asyncio.run(log.note(new))
    size = Checkpoint.parse(note.text).size
    proof = asyncio.run(log.prove(old=old, new=size)) if 0 < old <= size else ()
    return Request.make(note, old=old, proof=proof).format()


def post(address: str, body: bytes) -> httpx.Response:
    return httpx.post(f"{address}/add-checkpoint", content=body)


def kept(running: Running, origin: str = ORIGIN) -> Note:
    """Return what the witness shows to auditors, its cosignature verified."""
    answer = httpx.get(f"{running.address}/{monitoring_path(origin)}")
    assert answer.status_code == 200
    note = Note.parse(answer.content)
    policy = Policy.parse(f"{running.policy_line}\nquorum {NAME}\n".encode())
    assert any(one.name == policy.witnesses[0].key.name for one in note.signatures)
    return note


def size_of(note: Note) -> int:
    return Checkpoint.parse(note.text).size


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path, size=8)


@pytest.fixture
def running(tmp_path: Path, log: Log) -> Iterator[Running]:
    with witness(tmp_path / "w", "--name", NAME, "--log", log.vkey) as one:
        yield one


def test_a_witness_says_where_and_who_it_is_and_stays_it(tmp_path: Path) -> None:
    with witness(tmp_path / "w", "--name", NAME) as first:
        assert first.address.startswith("http://127.0.0.1:")
        key = VerifierKey.parse(first.vkey)
        assert key.name == NAME
        assert first.policy_line == f"witness {NAME} {first.vkey} {first.address}"
        assert httpx.get(f"{first.address}/health/live").json() == {"status": "ok"}
        assert httpx.get(f"{first.address}/health/ready").json() == {"status": "ok"}
    data = tmp_path / "w" / "data"
    assert stat.S_IMODE((data / "witness.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    with witness(tmp_path / "w", "--public-url", "https://w.example/w") as second:
        assert second.vkey == first.vkey
        assert second.policy_line.endswith(" https://w.example/w")
    assert second.process.returncode == 0


def test_every_request_gets_the_status_of_the_specification(
    running: Running, tmp_path: Path, log: Log
) -> None:
    log.grow(8)
    forger = NoteSigner(ORIGIN, Ed25519PrivateKey(b"F" * 32))
    forged = Request.make(sign(Checkpoint(ORIGIN, 9, log.root(9)), [forger]))
    stranger = NoteSigner("other.example/log", Ed25519PrivateKey(b"O" * 32))
    unknown = Request.make(sign(Checkpoint("other.example/log", 9, log.root(9)), [stranger]))
    for body, status in ((b"nonsense", 400), (unknown.format(), 404), (forged.format(), 403)):
        assert post(running.address, body).status_code == status
    assert httpx.get(f"{running.address}/{monitoring_path(ORIGIN)}").status_code == 404
    assert post(running.address, request(log, 0, 8)).status_code == 200
    for old, new, status in ((9, 8, 400), (0, 9, 409), (3, 9, 409)):
        answer = post(running.address, request(log, old, new))
        assert answer.status_code == status
        if status == 409:
            assert (answer.headers["content-type"], answer.content) == ("text/x.tlog.size", b"8\n")
    # The real key signs a tree in which an old entry was changed: nobody gets that cosigned.
    liar = Log(tmp_path, size=16)
    liar.forge()
    assert liar.vkey == log.vkey
    for new in (8, 12, 16):
        assert post(running.address, request(liar, 8, new)).status_code == 422
    assert size_of(kept(running)) == 8
    body = request(log, 8, 12)
    answer = post(running.address, body)
    assert SignedCheckpoint.open(kept(running), [verifier(log.signer.key)]).checkpoint.size == 12
    cosigner = verifier(VerifierKey.parse(running.vkey))
    read = read_answer(
        Request.parse(body),
        status=answer.status_code,
        media_type="text/plain",
        body=answer.content,
        verifiers=[cosigner],
    )
    assert isinstance(read, Cosignatures)
    assert abs(time_of(read.signatures[0]) - time.time()) < 60


def test_addresses_that_we_ask_are_not_logged(running: Running) -> None:
    script = (
        "import sys, httpx, caretrail.logs as logs; logs.start('debug');"
        "print(httpx.get(sys.argv[1]).status_code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, f"{running.address}/health/live?patient=Patient/p1"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "200\n"
    assert "p1" not in done.stderr


def test_what_no_request_of_the_protocol_is_costs_little(running: Running, log: Log) -> None:
    address = running.address
    for method, path, status in (
        ("GET", "/add-checkpoint", 405),
        ("POST", f"/{monitoring_path(ORIGIN)}", 405),
        ("DELETE", f"/{monitoring_path(ORIGIN)}", 405),
        ("GET", "/", 404),
        ("GET", "/x/checkpoint", 404),
        ("HEAD", "/health/ready", 200),
    ):
        answer = httpx.request(method, f"{address}{path}")
        assert answer.status_code == status
        assert ("allow" in answer.headers) is (status == 405)
    assert post(address, b"x" * (WITNESS_REQUEST_BYTES_MAX + 1)).status_code == 413

    def endless() -> Iterator[bytes]:
        while True:
            yield b"x" * 65_536

    with contextlib.suppress(httpx.WriteError, httpx.ReadError):
        answer = httpx.post(f"{address}/add-checkpoint", content=endless())
        assert answer.status_code == 413
    # Somebody who begins a request and goes away leaves the witness as it was.
    with contextlib.suppress(httpx.TimeoutException):
        httpx.post(f"{address}/add-checkpoint", content=_stalled(), timeout=0.3)
    assert post(address, request(log, 0)).status_code == 200


def _stalled() -> Iterator[bytes]:
    yield b"old 0\n"
    time.sleep(0.5)


def test_lines_of_strangers_are_not_handed_on(running: Running, log: Log) -> None:
    note = asyncio.run(log.note())
    stranger = NoteSigner("advert.example/buy", Ed25519PrivateKey(b"A" * 32))
    noisy = note.add([stranger.sign(note.text)])
    assert post(running.address, Request.make(noisy).format()).status_code == 200
    names = [one.name for one in kept(running).signatures]
    assert names == [ORIGIN, NAME]


def test_a_restart_forgets_nothing(tmp_path: Path, log: Log) -> None:
    with witness(tmp_path / "w", "--name", NAME, "--log", log.vkey) as one:
        assert post(one.address, request(log, 0)).status_code == 200
        before = kept(one)
    with witness(tmp_path / "w", "--log", log.vkey) as one:
        assert kept(one) == before
        assert post(one.address, request(log, 0, 5)).status_code == 409
        log.grow(1)
        assert post(one.address, request(log, 8)).status_code == 200


@pytest.mark.skipif(not DIALOGUE.exists(), reason="needs ../shared/vectors/merkle")
def test_a_dialogue_with_another_implementation_goes_as_it_went_there(tmp_path: Path) -> None:
    dialogue = json.loads(DIALOGUE.read_text())
    origin = dialogue["log_origin"]
    key = VerifierKey(origin, 1, bytes.fromhex(dialogue["log_ed25519_public_key_hex"]))
    seen = []
    with witness(tmp_path / "w", "--name", NAME, "--log", key.format()) as one:
        for step in dialogue["steps"]:
            # An unknown log is 404 in C2SP's text, and was 403 there; and one signature there is
            # base64 with bits to spare, which we call malformed: here it is a wrong signature.
            body = step["request_body"].replace("rx6gx=", "rx6gw=").encode()
            is_known = Request.parse(body).checkpoint.origin == origin
            answer = post(one.address, body)
            assert answer.status_code == (step["status"] if is_known else 404)
            if answer.status_code == 409:
                assert step["asserts"] == [f'body == "{answer.text.strip()}\\n"']
            seen.append(answer.status_code)
        assert size_of(kept(one, origin)) == 5
    assert sorted(set(seen)) == [200, 403, 404, 409, 422]


def test_a_list_of_logs_is_read_again_when_it_changes(tmp_path: Path, log: Log) -> None:
    logs = tmp_path / "logs.txt"
    logs.write_text("# nobody yet\n")
    with witness(tmp_path / "w", "--name", NAME, "--logs", str(logs)) as one:
        body = request(log, 0)
        assert post(one.address, body).status_code == 404
        logs.write_text(f"# The repository in the basement.\n\n{log.vkey}\n")
        assert post(one.address, body).status_code == 200
        # A slip leaves what was in force, and is said.
        logs.write_text(f"{log.vkey[:-3]}\n")
        ready = httpx.get(f"{one.address}/health/ready")
        assert (ready.status_code, ready.json()["status"]) == (200, "failing")
        assert post(one.address, request(log, 8, 8)).status_code == 200
        logs.unlink()
        assert post(one.address, request(log, 8, 8)).status_code == 200
        logs.write_text("")
        assert httpx.get(f"{one.address}/health/ready").json() == {"status": "ok"}
        assert post(one.address, request(log, 8, 8)).status_code == 404
    lines = [json.loads(line) for line in (tmp_path / "w" / "serve.err").read_text().splitlines()]
    slips = [one for one in lines if one["message"] == "the list of logs is not taken"]
    assert ["line 1 of the list of logs" in one["reason"] for one in slips] == [True]


def test_requests_that_cross_each_other_never_roll_a_log_back(tmp_path: Path) -> None:
    """Sixteen clients push one log on from wherever they find it; the steps must be one chain."""
    log = Log(tmp_path, size=120)
    bodies: dict[tuple[int, int], bytes] = {}
    steps: list[tuple[int, int]] = []
    with witness(tmp_path / "w", "--name", NAME, "--log", log.vkey) as one:

        def push(seed: int) -> None:
            chance, old = random.Random(seed), 0
            with httpx.Client() as client:
                for _ in range(40):
                    new = min(old + chance.randint(0, 4), 120)
                    body = bodies.get((old, new)) or request(log, old, new)
                    bodies[old, new] = body
                    answer = client.post(f"{one.address}/add-checkpoint", content=body)
                    if answer.status_code == 200:
                        steps.append((old, new))
                        old = new
                    else:
                        assert answer.status_code == 409
                        assert int(answer.text) > old, "the witness went back"
                        old = int(answer.text)

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(push, range(16)))
        moves = sorted(step for step in steps if step[0] != step[1])
        assert len(moves) > 20
        assert [old for old, _ in moves] == [0, *(new for _, new in moves[:-1])]
        assert size_of(kept(one)) == moves[-1][1]


def test_a_kill_between_storing_and_answering_is_harmless(tmp_path: Path) -> None:
    """Kill the witness while it works; what it has cosigned, it knows, and the log can go on."""
    log, chance = Log(tmp_path, size=1), random.Random(11)
    cosigned, arguments = 0, ["--name", NAME, "--log", log.vkey]
    for _ in range(5):
        with (
            contextlib.suppress(httpx.TransportError),
            witness(tmp_path / "w", *arguments) as one,
            ThreadPoolExecutor(1) as pool,
        ):
            killing = None
            try:
                old = cosigned
                while True:
                    answer = post(one.address, request(log, old))
                    if answer.status_code == 409:
                        # Stored, and the answer was lost: never behind what it has answered.
                        assert int(answer.text) >= cosigned
                        old = int(answer.text)
                        continue
                    assert answer.status_code == 200
                    cosigned = old = len(log.leaves)
                    log.grow(1)
                    # Not before it has cosigned: a slow machine may take longer for that.
                    seconds = chance.uniform(0.0, 0.3)
                    killing = killing or pool.submit(_kill_after, one.process, seconds)
            finally:
                if killing is not None:
                    killing.result()
    with witness(tmp_path / "w", *arguments) as one:
        assert size_of(kept(one)) >= cosigned > 1
        at = size_of(kept(one))
        assert post(one.address, request(log, at)).status_code == 200


def _kill_after(process: subprocess.Popen[str], seconds: float) -> None:
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)


def test_a_passphrase_comes_by_the_environment_and_is_never_said(tmp_path: Path) -> None:
    secret = {"CARETRAIL_WITNESS_PASSPHRASE": "correct-horse-battery"}
    with witness(tmp_path / "w", "--name", NAME, environment=secret) as one:
        assert httpx.get(f"{one.address}/health/ready").status_code == 200
    assert b"ENCRYPTED" in (tmp_path / "w" / "data" / "witness.key").read_bytes()
    for environment in ({}, {"CARETRAIL_WITNESS_PASSPHRASE": "battery-horse"}):
        done = start(tmp_path, environment=environment)
        assert done.returncode == 2
        assert "passphrase" in done.stderr
        assert "horse" not in done.stderr + done.stdout
    assert "horse" not in (tmp_path / "w" / "serve.err").read_text()


def start(
    folder: Path, *arguments: str, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, "--data", str(folder / "w" / "data"), "--port", "0", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=30, check=False, env=environment
    )


def test_a_start_that_cannot_be_says_what_to_do(tmp_path: Path, log: Log) -> None:
    def refused(*arguments: str) -> str:
        done = start(tmp_path, *arguments)
        assert done.returncode == 2, done.stderr
        assert done.stdout == ""
        return " ".join(done.stderr.split())

    assert "a new witness needs a name" in refused()
    assert "neither spaces" in refused("--name", "a b")
    cosigner = log.vkey.replace(ORIGIN, "x")
    assert "--log: the verifier key" in refused("--name", NAME, "--log", cosigner)
    assert "cannot be read" in refused("--name", NAME, "--logs", str(tmp_path / "absent"))
    assert "--port" in refused("--name", NAME, "--port", "70000")
    assert "--log-level" in refused("--name", NAME, "--log-level", "loud")
    with witness(tmp_path / "w", "--name", NAME) as one:
        port = one.address.rpartition(":")[2]
        assert "cannot be listened on" in refused("--port", port)
    assert "is called" in refused("--name", "another.example/w")
    data = tmp_path / "w" / "data"
    key, state = data / "witness.key", data / "witness.sqlite"
    key.rename(tmp_path / "key")
    assert "is gone: put back your copy" in refused()
    Log(tmp_path / "other")
    (tmp_path / "other" / "log.key").rename(key)
    assert "is not the one of this witness" in refused()
    (tmp_path / "key").rename(key)
    state.rename(tmp_path / "state")
    assert "would cosign a log that was rolled back" in refused("--name", NAME)
    state.write_bytes(b"no database" * 100)
    assert "is damaged" in refused()


def test_the_figures_say_what_was_cosigned_and_refused(running: Running, log: Log) -> None:
    assert post(running.address, request(log, 0, 5)).status_code == 200
    assert post(running.address, request(log, 0, 8)).status_code == 409
    assert post(running.address, b"nonsense").status_code == 400
    answer = httpx.get(f"{running.address}/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    for line in (
        'caretrail_witness_requests_total{status="200"} 1.0',
        'caretrail_witness_requests_total{status="400"} 1.0',
        'caretrail_witness_requests_total{status="409"} 1.0',
        f'caretrail_witness_size{{log="{ORIGIN}"}} 5.0',
        "caretrail_witness_clock_wrong 0.0",
        "caretrail_witness_logs_wrong 0.0",
    ):
        assert line in answer.text.splitlines()
    (at,) = re.findall(
        r"^caretrail_witness_cosigned_timestamp_seconds{.*} (.+)$", answer.text, re.M
    )
    assert abs(float(at) - time.time()) < 600


def test_a_witness_with_ml_dsa_says_both_lines_of_a_policy(tmp_path: Path, log: Log) -> None:
    with witness(tmp_path / "w", "--name", NAME, "--log", log.vkey, "--sign-ml-dsa") as one:
        assert one.process.stdout is not None
        second = one.process.stdout.readline().strip()
        assert post(one.address, request(log, 0, 8)).status_code == 200
        note = Note.parse(httpx.get(f"{one.address}/{monitoring_path(ORIGIN)}").content)
    lines = [f"log {log.vkey}", one.policy_line, second, f"group both all {NAME} {NAME}/ml-dsa"]
    policy = Policy.parse("\n".join([*lines, "quorum both", ""]).encode())
    assert [found.name for found in policy.accept(note).witnesses] == [NAME, f"{NAME}/ml-dsa"]
