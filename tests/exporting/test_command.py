"""`caretrail export` as it is typed: from a folder, and from a server that works on it."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from caretrail.evidence import verify
from tests.exporting.world import body, checked, disclosed, members
from tests.serving import serving

CARETRAIL = Path(sys.executable).with_name("caretrail")


def run(folder: Path, *arguments: str, code: int = 0) -> str:
    """Run a command in the folder and return what it says, on one line."""
    done = subprocess.run(
        [CARETRAIL, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return " ".join((done.stdout + done.stderr).split())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a log of 40 events in `data`."""
    lines = b"".join(body(n) + b"\n" for n in range(40))
    (tmp_path / "events.ndjson").write_bytes(lines)
    run(tmp_path, "load", "--data", "data", "events.ndjson")
    return tmp_path


def events(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


def test_a_report_is_written_and_its_own_verifier_accepts_it(folder: Path) -> None:
    said = run(
        folder, "export", "--data", "data", "--evidence", "--subject", "Patient/p1", "p1.zip"
    )
    assert "p1.zip: 6 events disclosed" in said
    made = members((folder / "p1.zip").read_bytes())
    assert (folder / "p1.zip").stat().st_mode & 0o777 == 0o600
    (folder / "verify.py").write_bytes(made["verify.py"])
    done = subprocess.run(
        [sys.executable, "verify.py", "p1.zip"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "6  are about patient Patient/p1" in done.stdout


def test_lines_are_gone_on_with(folder: Path) -> None:
    export = ("export", "--data", "data", "--query", "action=R&sequence=lt41")
    run(folder, *export, "all.ndjson")
    whole = (folder / "all.ndjson").read_bytes()
    assert len(whole.splitlines()) == 40
    (folder / "part.ndjson").write_bytes(b"".join(whole.splitlines(keepends=True)[:15]))
    said = run(folder, *export, "--after", "15", "part.ndjson")
    assert "25 events; the last entry looked at is 40" in said
    assert (folder / "part.ndjson").read_bytes() == whole
    for after in ("-1", "30"):
        run(folder, *export, "--after", after, "all.ndjson.gz")
    packed = events(gzip.decompress((folder / "all.ndjson.gz").read_bytes()))
    assert packed == events(whole) + events(whole)[30:]


def test_a_file_that_is_there_or_cut_off_is_left_alone(folder: Path) -> None:
    (folder / "out.ndjson").write_bytes(b'{"a')
    assert "is there already" in run(folder, "export", "--data", "data", "out.ndjson", code=2)
    said = run(folder, "export", "--data", "data", "--after", "1", "out.ndjson", code=2)
    assert "ends within a line" in said
    assert (folder / "out.ndjson").read_bytes() == b'{"a'


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name a file"),
        (("x", "--tiles", "t"), "name a file"),
        (("--tiles", "t", "--evidence"), "whole tree"),
        (("x", "--entries"), "--tiles"),
        (("x", "--subject", "Patient/1"), "--evidence"),
        (("x", "--start", "4"), "--evidence"),
        (("x", "--evidence", "--after", "4"), "NDJSON"),
        (("x", "--server", "http://127.0.0.1:9"), "--token-file"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    assert said in run(tmp_path, "export", *arguments, code=2)
    assert not (tmp_path / "caretrail-data").exists()


def test_a_mistake_in_the_question_opens_nothing(tmp_path: Path) -> None:
    said = run(tmp_path, "export", "x", "--query", "patients=Patient/1", code=1)
    assert "does not have" in said
    assert not (tmp_path / "caretrail-data").exists()


def test_tiles_are_written(folder: Path) -> None:
    said = run(folder, "export", "--data", "data", "--tiles", "tiles", "--entries")
    assert "tiles: a tree of" in said
    assert (folder / "tiles" / "checkpoint").exists()
    assert list((folder / "tiles" / "tile" / "entries").iterdir())


def test_a_running_server_is_named_and_makes_the_export(folder: Path) -> None:
    command = [str(CARETRAIL), "serve", "--data", "data", "--port", "0"]
    with serving(command, folder=folder) as served:
        said = run(folder, "export", "--data", "data", "x.ndjson", code=2)
        assert "--server URL --token-file FILE" in said
        server = ("export", "--server", served.address, "--token-file", "data/token")
        said = run(folder, *server, "--evidence", "--subject", "Patient/p2", "p2.zip")
        assert "p2.zip: 6 events" in said
        run(folder, *server, "--query", "agent=Practitioner/dr-1", "--after", "20", "dr.ndjson")
        said = run(folder, *server, "--query", "patients=Patient/1", "y.ndjson", code=2)
        assert "the server answers 400" in said
        assert "Patient/1" not in said
        (folder / "wrong").write_text("wrong-wrong-wrong-wrong-wrong\n")
        server = ("export", "--server", served.address, "--token-file", "wrong")
        assert "401" in run(folder, *server, "z.ndjson", code=2)
        # What was fetched is deleted at the server.
        assert list((folder / "data" / "exports").iterdir()) == []
    assert checked((folder / "p2.zip").read_bytes()).holds()
    fetched = events((folder / "dr.ndjson").read_bytes())
    assert len(fetched) == 6
    assert "Patient" not in (folder / "serve.err").read_text()
    assert not [one for one in folder.iterdir() if one.name.startswith(".")]


def test_without_a_server_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t" * 30)
    arguments = ("export", "x", "--server", "http://127.0.0.1:9", "--token-file", "token")
    assert "does not answer" in run(tmp_path, *arguments, code=1)


def test_a_witnessed_log_gives_witnessed_evidence(folder: Path) -> None:
    run(folder, "export", "--data", "data", "--evidence", "--end", "5", "first.zip")
    first = members((folder / "first.zip").read_bytes())["policy"].decode()
    log = first.split("\n")[0].removeprefix("log ")
    command = [str(CARETRAIL), "witness", "--port", "0", "--name", "dpo.example", "--log", log]
    with serving(command, folder=folder) as witness:
        assert witness.process.stdout is not None
        witness.process.stdout.readline()
        _, name, vkey, url = witness.process.stdout.readline().split()
        policy = f"witness dpo {vkey} {url}\nquorum dpo\n"
        (folder / "policy").write_text(policy)
        export = ("export", "--data", "data", "--evidence", "--witness-policy", "policy")
        run(folder, *export, "--subject", "Practitioner/dr-1", "seen.zip")
    made = (folder / "seen.zip").read_bytes()
    assert members(made)["policy"].decode() == f"log {log}\n{policy}"
    check = checked(made, f"log {log}\n{policy}".encode())
    assert check.holds(), [vars(one) for one in check.findings]
    facts = verify.machine(check)
    assert facts["witnessed"] is True
    assert [row["name"] for row in facts["cosignatures"]] == [name]
    assert len(disclosed(made)) == 13
