"""Senders that others made, to a real server: logger, rsyslog, openssl s_client."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.access.test_tls import made, pem, written
from tests.serving import serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MESSAGE = (
    '<AuditMessage><EventIdentification EventActionCode="R" EventDateTime="2026-11-25T09:00:00Z"'
    ' EventOutcomeIndicator="0"><EventID csd-code="110112" codeSystemName="DCM"'
    ' originalText="Query"/></EventIdentification><ActiveParticipant UserID="{user}"'
    ' UserIsRequestor="true"/><AuditSourceIdentification AuditSourceID="pacs"/></AuditMessage>'
)
SECONDS = 60.0
_SERVE = """
import sys
from pathlib import Path
from caretrail import app
from caretrail.settings import Settings
folder, *ports = sys.argv[1:]
folder = Path(folder)
async def ready(server, address):
    print(address, flush=True)
app.run(Settings(
    data=folder / "data", port=0, tls_cert=folder / "server.pem",
    client_ca=folder / "clients.pem", identities=folder / "identities.toml",
    token_roles="all", syslog_tls_port=int(ports[0]), syslog_udp_port=int(ports[1]),
    syslog_tcp_port=int(ports[2]),
), on_ready=ready)
"""


class Running:
    """A server that takes syslog, and a client that may read everything."""

    def __init__(self, folder: Path, address: str, ports: list[int], authority: Any) -> None:
        self.folder, self.tls, self.udp, self.tcp = folder, *ports
        token = (folder / "data" / "token").read_text().strip()
        self.client = httpx.Client(
            base_url=address.replace("127.0.0.1", "localhost"),
            verify=ssl.create_default_context(cadata=pem(authority[0]).decode()),
            headers={"Authorization": f"Bearer {token}"},
            trust_env=False,
        )

    def wait(self, count: int, query: str) -> list[dict[str, Any]]:
        """Return the events that fit, once there are so many."""
        query += "" if "_count" in query else "&_count=500"
        ends = time.monotonic() + SECONDS
        while True:
            page = self.client.get(f"/fhir/AuditEvent?{query}").json()
            found = [entry["resource"] for entry in page.get("entry", ())]
            if len(found) >= count or time.monotonic() > ends:
                assert len(found) == count
                return found
            time.sleep(0.1)


def free_ports() -> list[int]:
    with ExitStack() as stack:
        taken = [stack.enter_context(socket.socket()) for _ in range(3)]
        for one in taken:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in taken]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("senders")
    authority, ports = made("hospital"), free_ports()
    written(folder, "server", made("localhost", authority))
    written(folder, "pacs", made("pacs", authority))
    written(folder, "other", made("other", authority))
    (folder / "clients.pem").write_bytes(pem(authority[0]))
    (folder / "identities.toml").write_text('[[certificate]]\nproducer = "p"\nsubject = "pacs"\n')
    command = [sys.executable, "-c", _SERVE, str(folder), *map(str, ports)]
    with serving(command, folder=folder) as served:
        found = Running(folder, served.address, ports, authority)
        with found.client:
            yield found


def needs(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"needs {program}: see scripts/install_debian.sh")
    return path


@pytest.mark.parametrize("way", ["udp", "tcp", "tcp octet-count"])
def test_logger_sends(running: Running, way: str) -> None:
    port = running.udp if way == "udp" else running.tcp
    user = "logger-" + "".join(filter(str.isalpha, way))
    command = [needs("logger"), "--server", "127.0.0.1", "--port", str(port), "--rfc5424",
               "--priority", "authpriv.notice", "--msgid", "IHE+RFC-3881",
               *(f"--{one}" for one in way.split()), "--size", "64KiB"]  # fmt: skip
    for _ in range(2):
        subprocess.run([*command, MESSAGE.format(user=user)], check=True, timeout=SECONDS)
    found = running.wait(2, f"agent.identifier={user}")
    assert {one["source"]["observer"]["identifier"]["value"] for one in found} == {"pacs"}
    original = running.client.get(f"/fhir/AuditEvent/{found[0]['id']}/$original").text
    assert original.startswith("<85>1 ")
    assert original.endswith(MESSAGE.format(user=user))


@contextmanager
def rsyslog(running: Running, folder: Path, action: str, *, certificate: str) -> Iterator[Path]:
    """Run rsyslog with a socket to write to, and that action."""
    program, box = needs("rsyslogd"), folder / "box"
    (folder / "rsyslog.conf").write_text(
        f"""
        global(workDirectory="{folder}" maxMessageSize="64k"
               DefaultNetstreamDriverCAFile="{running.folder}/clients.pem"
               DefaultNetstreamDriverCertFile="{running.folder}/{certificate}.pem"
               DefaultNetstreamDriverKeyFile="{running.folder}/{certificate}.pem")
        module(load="imuxsock" SysSock.Use="off")
        input(type="imuxsock" Socket="{box}" CreatePath="on" ParseHostname="on"
              RateLimit.Interval="0")
        {action}
        """
    )
    command = [program, "-n", "-i", str(folder / "pid"), "-f", str(folder / "rsyslog.conf")]
    with (folder / "rsyslog.log").open("w") as log, subprocess.Popen(command, stderr=log) as one:
        try:
            ends = time.monotonic() + SECONDS
            while not box.exists():
                assert one.poll() is None
                assert time.monotonic() < ends, (folder / "rsyslog.log").read_text()
                time.sleep(0.05)
            yield box
        finally:
            one.terminate()
            one.wait(SECONDS)


@pytest.mark.parametrize("way", ["udp", "tls", "tls-unknown"])
def test_rsyslog_sends(running: Running, tmp_path: Path, way: str) -> None:
    secure = (
        'TCP_Framing="octet-counted" StreamDriver="gtls" StreamDriverMode="1"'
        ' StreamDriverAuthMode="x509/certvalid" action.resumeRetryCount="-1"'
    )
    kind, port = ("udp", running.udp) if way == "udp" else ("tcp", running.tls)
    action = (
        f'action(type="omfwd" target="127.0.0.1" port="{port}" protocol="{kind}"'
        f' template="RSYSLOG_SyslogProtocol23Format" {secure if kind == "tcp" else ""})'
    )
    user, count = f"rsyslog-{way}", 100
    certificate = "other" if way == "tls-unknown" else "pacs"
    with rsyslog(running, tmp_path, action, certificate=certificate) as box:
        for _ in range(count):
            subprocess.run(
                [
                    needs("logger"),
                    "--socket",
                    str(box),
                    "--size",
                    "64KiB",
                    MESSAGE.format(user=user),
                ],
                check=True,
                timeout=SECONDS,
            )
        if way == "tls-unknown":
            denied = running.wait(1, "type=110101&outcome=8&_count=1")
            assert "syslog" in str(denied[0]["entity"])
            running.wait(0, f"agent.identifier={user}")
        else:
            running.wait(count, f"agent.identifier={user}")


def test_a_sender_that_stops_halfway_hurts_nobody(running: Running) -> None:
    """Let openssl send one message and a half, and another one while that hangs."""
    program = needs("openssl")
    folder = running.folder
    command = [program, "s_client", "-quiet", "-connect", f"127.0.0.1:{running.tls}",
               "-CAfile", str(folder / "clients.pem"), "-cert", str(folder / "pacs.pem"),
               "-key", str(folder / "pacs.pem")]  # fmt: skip

    def frame(user: str) -> bytes:
        body = f"<85>1 - h a - - - {MESSAGE.format(user=user)}".encode()
        return b"%d %s" % (len(body), body)

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    with start() as slow, start() as other:
        for process, data in (
            (slow, frame("whole") + frame("half")[:-30]),
            (other, frame("other")),
        ):
            assert process.stdin is not None
            process.stdin.write(data)
            process.stdin.flush()
        running.wait(1, "agent.identifier=whole")
        running.wait(1, "agent.identifier=other")
        running.wait(0, "agent.identifier=half")
        for process in (slow, other):
            process.kill()
    (half,) = running.wait(1, "agent.identifier=half&flag=truncated")
    assert half["source"]["observer"]


def send_and_close(running: Running, name: str, count: int) -> None:
    context = ssl.create_default_context(cafile=str(running.folder / "clients.pem"))
    context.load_cert_chain(running.folder / "pacs.pem")
    frames = [f"<85>1 2026-11-25T09:00:00Z h {name} {n} - - {'x' * 600}" for n in range(count)]
    with (
        socket.create_connection(("127.0.0.1", running.tls)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as sender,
    ):
        sender.sendall("".join(f"{len(one)} {one}" for one in frames).encode())
    running.wait(count, f"agent.identifier={name}&_count=1000")


def test_a_sender_that_reads_nothing_and_closes_at_once_loses_nothing(running: Running) -> None:
    send_and_close(running, "closing", 1_000)


def test_the_figures_tell_of_it(running: Running) -> None:
    """Whichever other tests this server has seen."""
    send_and_close(running, "counted", 1)
    text = running.client.get("/metrics").text
    assert 'caretrail_syslog_frames_total{transport="tls"}' in text
    assert 'caretrail_syslog_waiting_bytes{transport="all"}' in text
