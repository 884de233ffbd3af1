"""Fetching from servers that are not what they should be: the token stays where it belongs."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from caretrail.errors import ConfigurationError, UnavailableError
from caretrail.exporting import formats
from caretrail.fetching import fetch, parameters

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

JOB = "/fhir/$export/job"
ELSEWHERE = "https://elsewhere.example:1"


class Server:
    """Answers as it is told to, and keeps what it was asked."""

    def __init__(self, answers: dict[str, tuple[int, dict[str, str], bytes]]) -> None:
        self.asked: list[tuple[str, str, str]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                length = int(self.headers.get("Content-Length", "0"))
                body = self.rfile.read(length).decode()
                server.asked.append((self.command, self.path, body))
                status, headers, content = answers.get(
                    f"{self.command} {self.path}", (404, {}, b"")
                )
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_DELETE = answer  # noqa: N815

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.http = HTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(target=self.http.serve_forever)


@pytest.fixture
def served() -> Iterator[Any]:
    made: list[Server] = []

    def serve(answers: dict[str, tuple[int, dict[str, str], bytes]]) -> Server:
        server = Server(answers)
        server.thread.start()
        made.append(server)
        return server

    yield serve
    for server in made:
        server.http.shutdown()
        server.thread.join()
        server.http.server_close()


def answers(**changed: Any) -> dict[str, tuple[int, dict[str, str], bytes]]:
    output = [{"type": "AuditEvent", "url": f"{ELSEWHERE}{JOB}/a.ndjson", "count": 2}]
    manifest = json.dumps({"output": output}).encode()
    return {
        "POST /fhir/AuditEvent/$export": (202, {"Content-Location": f"{ELSEWHERE}{JOB}"}, b""),
        f"GET {JOB}": (200, {}, manifest),
        f"GET {JOB}/a.ndjson": (200, {}, b"{}\n{}\n"),
        f"DELETE {JOB}": (202, {}, b""),
    } | changed


def test_only_the_server_that_was_named_is_asked(served: Any, tmp_path: Path) -> None:
    server = served(answers())
    pairs = parameters(
        media=formats.NDJSON.media,
        query="patient=Patient/1",
        subjects=(),
        start=None,
        end=None,
        after=7,
    )
    assert fetch(server.address, "t", pairs, tmp_path / "out") == 2
    assert (tmp_path / "out").read_bytes() == b"{}\n{}\n"
    assert [f"{method} {path}" for method, path, _ in server.asked] == list(answers())
    assert "Patient%2F1%26sequence%3Dgt7" in server.asked[0][2]


@pytest.mark.parametrize(
    "changed",
    [
        {"POST /fhir/AuditEvent/$export": (202, {"Content-Location": ELSEWHERE}, b"")},
        {"POST /fhir/AuditEvent/$export": (202, {}, b"")},
        {"POST /fhir/AuditEvent/$export": (503, {}, b"")},
        {f"GET {JOB}": (200, {}, b"no manifest")},
        {f"GET {JOB}": (200, {}, b"{}")},
        {f"GET {JOB}": (500, {}, b"{}")},
        {f"GET {JOB}/a.ndjson": (502, {}, b"{}")},
    ],
    ids=str,
)
def test_an_answer_of_another_kind_leaves_no_file(
    served: Any, tmp_path: Path, changed: dict[str, Any]
) -> None:
    server = served(answers(**changed))
    with pytest.raises(UnavailableError):
        fetch(server.address, "t", [], tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_not_written_again(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"mine")
    with pytest.raises(ConfigurationError, match="already"):
        fetch("http://127.0.0.1:9", "t", [], tmp_path / "out")


def test_progress_is_passed_on_and_the_server_says_how_long_to_wait(
    served: Any, tmp_path: Path
) -> None:
    said: list[str] = []
    waited: list[float] = []
    busy = (202, {"X-Progress": "5 of 9 entries", "Retry-After": "3600"}, b"")
    table = answers(**{f"GET {JOB}": busy})

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        table[f"GET {JOB}"] = answers()[f"GET {JOB}"]

    server = served(table)
    fetch(server.address, "t", [], tmp_path / "out", on_progress=said.append, sleep=sleep)
    assert said == ["5 of 9 entries"]
    assert waited == [60.0]
