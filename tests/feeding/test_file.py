"""The file of feeds: what is wrong with it is said at the start, by the name of the feed."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest

from caretrail import config
from caretrail.errors import ConfigurationError, UnavailableError
from caretrail.feeding import cursor, file
from caretrail.feeding.kinds import KINDS
from caretrail.formats.table import BY_CODE
from caretrail.outgoing import OPERATORS, Reach, lookup
from tests.feeding.running import toml

if TYPE_CHECKING:
    from pathlib import Path

GOOD: dict[str, Any] = {"name": "a", "kind": "http", "address": "https://siem.example/x"}


def read(folder: Path, **row: Any) -> list[file.Row]:
    text = toml(folder / "feeds.toml", **row).read_text()
    return file.read(text, folder=folder, secret=config.token)


def test_a_feed_needs_no_more_than_a_name_a_kind_and_an_address(tmp_path: Path) -> None:
    (row,) = read(tmp_path, **GOOD)
    assert row.format.code == "ocsf"
    assert row.wanted.address.port == 443
    assert row.own_events
    assert not row.begins_now


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"name": "A b"}, "small letters"),
        ({"kind": "pigeon"}, "its kind is one of fhir, syslog"),
        ({"format": "cef", "kind": "fhir"}, "the formats of this kind are fhir"),
        ({"address": "http://siem.example"}, "http is not encrypted"),
        ({"address": "https://user:secret@siem.example"}, "no user, password"),
        ({"address": "ftp://siem.example"}, "begins with https or http"),
        ({"address": "https://siem.example:99999"}, "malformed"),
        ({"filter": "patiens=1"}, "the feed a:"),
        ({"filter": "_count=3"}, "search parameters with values alone"),
        ({"kind": "elastic"}, "it needs `index`"),
        ({"subject": "x"}, "this kind has no `subject`"),
        ({"kind": "splunk"}, "credential_file with the collector's token"),
        ({"credential_file": "none"}, "cannot be read"),
        ({"ca_file": "none"}, "certificates of a receiver"),
        ({"redact": {"nothing": "remove"}}, "no field for redaction"),
        ({"redact": {"user.name": "pseudonym"}}, "pseudonyms need a key"),
        ({"redact": {"user.name": "paint"}}, "the file of feeds"),
        ({"surprise": 1}, "unknown field `surprise`"),
    ],
)
def test_a_mistake_is_told(tmp_path: Path, wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        read(tmp_path, **(GOOD | wrong))


def test_two_feeds_have_two_names(tmp_path: Path) -> None:
    text = toml(tmp_path / "feeds.toml", **GOOD).read_text()
    with pytest.raises(ConfigurationError, match="a name of its own"):
        file.read(f"{text}\n{text}", folder=tmp_path, secret=config.token)


def test_each_log_has_its_own_feeds(tmp_path: Path) -> None:
    text = toml(tmp_path / "feeds.toml", **GOOD).read_text()
    text += "\n" + text.replace('"a"', '"b"') + '\ntenant = "north"'
    for tenant, name in (("", "a"), ("north", "b")):
        (row,) = file.read(text, folder=tmp_path, secret=config.token, tenant=tenant)
        assert row.wanted.name == name
    assert file.read(text, folder=tmp_path, secret=config.token, tenant="south") == []


def test_every_kind_has_formats_of_the_table() -> None:
    assert all(set(kind.formats) <= BY_CODE.keys() for kind in KINDS)


def test_a_damaged_cursor_is_not_taken_for_a_new_feed(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    assert cursor.load(path) is None
    kept = cursor.Cursor(3, 2, 1, ((1, "400"),))
    cursor.save(path, kept)
    assert cursor.load(path) == kept
    path.write_bytes(b'{"next":')
    with pytest.raises(ConfigurationError, match="restore it"):
        cursor.load(path)


NEVER = ["169.254.169.254", "fe80::1", "0.0.0.0", "::", "224.0.0.1", "::ffff:169.254.169.254"]
INSIDE = ["10.0.0.1", "127.0.0.1", "192.168.1.1", "172.16.0.1", "::1", "fd00::1", "100.64.0.1",
          "::ffff:10.0.0.1"]  # fmt: skip


@pytest.mark.parametrize("address", NEVER)
def test_some_addresses_are_out_of_everybodys_reach(address: str) -> None:
    assert not OPERATORS.allows("siem", ip_address(address))
    assert not Reach(hosts=frozenset(["siem"])).allows("siem", ip_address(address))


@pytest.mark.parametrize("address", INSIDE)
def test_the_own_network_is_for_those_who_run_the_server(address: str) -> None:
    assert OPERATORS.allows("siem", ip_address(address))
    assert Reach(hosts=frozenset(["siem"])).allows("siem", ip_address(address))
    assert not Reach().allows("siem", ip_address(address))
    assert Reach().allows("siem", ip_address("8.8.8.8"))


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "0x7f.1", "localhost", "[::1"])
async def _refused(host: str) -> None:
    with pytest.raises(UnavailableError):
        await lookup(host, 80, Reach())


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "0x7f.1", "localhost"])
def test_a_spelling_of_loopback_is_loopback(host: str) -> None:
    import asyncio

    asyncio.run(_refused(host))
