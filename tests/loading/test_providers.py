"""`caretrail load --from`: files of identity providers, in each of the shapes that they come in."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from caretrail.cli import commands
from caretrail.errors import ConfigurationError, InvalidError
from caretrail.loading import read_provider
from caretrail.patterns.providers.table import PROVIDERS
from caretrail.search.query import parse
from tests.opening.logs import run, settings
from tests.patterns.providers.test_providers import SAMPLES

if TYPE_CHECKING:
    from pathlib import Path

    from caretrail.opening import Opened


def load(tmp_path: Path, *arguments: str) -> Any:
    return CliRunner().invoke(commands, ["load", "--data", str(tmp_path / "log"), *arguments])


def events(tmp_path: Path) -> list[str]:
    async def work(log: Opened) -> list[str]:
        query = parse([("type", "110113,110114"), ("_count", "200")], strict=True, base="")
        return [record.id async for record in log.repository.every(query)]

    return run(settings(tmp_path), work)


def write(tmp_path: Path, name: str, content: str | bytes) -> Path:
    file = tmp_path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_file_is_loaded_once_however_often_it_is_given(tmp_path: Path, provider: str) -> None:
    sent = [row["sent"] for row in SAMPLES[provider][:5]]
    file = write(tmp_path, "events.json", json.dumps(sent, indent=1))
    lines = write(tmp_path, "events.log", "".join(json.dumps(one) + "\n\n" for one in sent))
    first = load(tmp_path, "--from", provider, str(file))
    assert first.exit_code == 0, first.output
    found = events(tmp_path)
    assert len(found) == 5
    again = load(tmp_path, "--from", provider, str(lines))
    assert again.exit_code == 0, again.output
    assert events(tmp_path) == found


def test_a_line_that_is_no_event_is_told_and_the_others_are_loaded(tmp_path: Path) -> None:
    good = json.dumps(SAMPLES["okta"][0]["sent"])
    body = f'\ufeff{good}\nBearer canary {{\n{{"eventType": "x", "token": "canary"}}\n{good}\n'
    file = write(tmp_path, "system.ndjson", body)
    told = list(read_provider(file, "okta"))
    assert [one.number for one in told] == [1, 2, 3, 4]
    assert [one.problem is None for one in told] == [True, False, False, True]
    assert b"canary" not in told[1].body + told[2].body
    done = load(tmp_path, "--from", "okta", str(file))
    assert done.exit_code == 1
    assert len(events(tmp_path)) == 1


def test_a_file_that_is_no_json_is_refused_whole(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match="not JSON"):
        list(read_provider(write(tmp_path, "x.json", "<log/>"), "okta"))


def test_a_provider_that_nobody_knows_is_named_wrong(tmp_path: Path) -> None:
    done = load(tmp_path, "--from", "ldap", str(write(tmp_path, "x.json", "[]")))
    assert isinstance(done.exception, ConfigurationError)
    assert "keycloak, auth0, okta, entra" in str(done.exception)
