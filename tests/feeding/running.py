"""A `caretrail serve` that is killed and started again, and a receiver of HTTP that can fail."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import httpx

from tests.api.arr import event, now

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

COMMAND = Path(sys.executable).with_name("caretrail")
SECONDS_MAX = 120


def until(said: Callable[[], Any], what: str) -> Any:
    """Return what `said` does once it is true."""
    end = time.monotonic() + SECONDS_MAX
    while time.monotonic() < end:
        try:
            if found := said():
                return found
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"this did not come about: {what}")


class Arr:
    """A repository that everybody may use, in a folder of its own, on a port that stays."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder, self.options = folder, options
        folder.mkdir(exist_ok=True)
        self.port = 0
        self.process: subprocess.Popen[str] | None = None
        self.client = httpx.Client(timeout=30)

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [
            str(COMMAND), "serve", "--data", str(self.folder / "log"), "--insecure-no-auth",
            "--port", str(self.port), "--verify-hours", "0", *self.options,
        ]  # fmt: skip
        with (self.folder / "serve.err").open("a") as errors:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        assert self.process.stdout is not None
        first = self.process.stdout.readline()
        assert first, (self.folder / "serve.err").read_text()
        self.port = int(first.strip().rpartition(":")[2])

    def kill(self) -> None:
        """End it as a power cut does."""
        assert self.process is not None
        self.process.kill()
        self._gone()

    def halt(self) -> None:
        """End it as an operator does."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
        self._gone()

    def stop(self) -> None:
        self.halt()
        self.client.close()

    def _gone(self) -> None:
        if self.process is not None:
            self.process.wait(60)
            assert self.process.stdout is not None
            self.process.stdout.close()

    def record(self, *names: str) -> None:
        """Record an event for each name, in one Bundle, and see that all were taken."""
        entries = [{"resource": named(name)} for name in names]
        body = {"resourceType": "Bundle", "type": "collection", "entry": entries}
        answer = self.client.post(f"{self.base}/fhir", json=body)
        assert answer.status_code == 200, answer.text
        assert all(one["response"]["status"][:3] == "201" for one in answer.json()["entry"])

    def names(self) -> list[str]:
        """Return the names of all such events that it has."""
        found: list[str] = []
        url = f"{self.base}/fhir/AuditEvent?type=110110&_count=1000&_sort=_lastUpdated"
        while url:
            bundle = self.client.get(url).json()
            found += [name_of(one["resource"]) for one in bundle.get("entry", ())]
            url = next((one["url"] for one in bundle["link"] if one["relation"] == "next"), "")
        return found

    def ready(self) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get(f"{self.base}/health/ready").json()
        return found


def named(name: str) -> dict[str, Any]:
    found: dict[str, Any] = event(recorded=now(), outcomeDesc=name)
    return found


def name_of(resource: dict[str, Any]) -> str:
    return str(resource["outcomeDesc"])


@contextmanager
def arr(folder: Path, *options: str) -> Iterator[Arr]:
    made = Arr(folder, *options)
    made.start()
    try:
        yield made
    finally:
        made.stop()


class Got(NamedTuple):
    """A request that came."""

    path: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """An HTTP server that keeps what it gets; `answer` says what it says to that."""

    def __init__(self, answer: Callable[[Got], tuple[int, bytes]]) -> None:
        self.got: list[Got] = []
        self.answer = answer
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                got = Got(self.path, headers, body)
                status, said = outer.answer(got)
                if 200 <= status < 300:
                    outer.got.append(got)
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("location", said.decode())
                    said = b""
                self.send_header("content-length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def encrypt(self, context: ssl.SSLContext) -> None:
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.base = self.base.replace("http://", "https://")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def taken(_: Got) -> tuple[int, bytes]:
    return 200, b"{}"


def lines(body: bytes) -> list[Any]:
    return [json.loads(one) for one in body.splitlines()]


def toml(path: Path, **row: Any) -> Path:
    """Write a file of one feed."""
    members = [f"{name} = {_toml(value)}" for name, value in row.items()]
    path.write_text("\n".join(["[[feed]]", *members]))
    return path


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items()) + "}"
    return json.dumps(value)
