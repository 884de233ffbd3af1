"""The store by itself: its file, its bounds, and what of a change is kept."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from caretrail.clinic import SqliteClinic, indexing, resource
from caretrail.clinic import sqlite as clinic_sqlite
from caretrail.clinic.contract import Search, Version
from caretrail.clinic.filters import AllOf
from caretrail.clinic.parameters import KINDS, parameters
from caretrail.errors import ConfigurationError, StoreError, TooCostlyError, UnprocessableError
from tests.clinic.hospital import patient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from caretrail.clinic.contract import Session

ALL = Search((), AllOf(()), limit=10)


class Opened:
    """A store and the loop that it is asked in."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.runner = folder, asyncio.Runner()
        self.store = SqliteClinic(folder)

    def put(self, name: str, number: int = 1) -> None:
        self.runner.run(self.store.write(lambda session: put(session, name, number)))

    def count(self) -> int:
        return self.runner.run(self.store.read(lambda session: session.count(ALL)))

    def close(self) -> None:
        self.runner.run(self.store.close())
        self.runner.close()


def put(session: Session, name: str, number: int = 1) -> None:
    body = resource.stamped(patient(), name=name, number=number, updated=0)
    rows = indexing.rows(resource.checked(body), base="")
    session.put(Version("Patient", name, number, 0, "PUT", body), rows)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    made = Opened(tmp_path)
    yield made
    made.close()


def test_what_is_put_is_there_after_a_restart(tmp_path: Path) -> None:
    first = Opened(tmp_path)
    first.put("a")
    key = first.store.key
    first.close()
    second = Opened(tmp_path)
    assert (second.count(), second.store.key) == (1, key)
    second.close()


def test_a_change_that_fails_leaves_nothing(opened: Opened) -> None:
    def change(session: Session) -> None:
        put(session, "a")
        raise KeyError

    with pytest.raises(KeyError):
        opened.runner.run(opened.store.write(change))
    assert opened.count() == 0
    opened.put("a")
    with pytest.raises(StoreError):
        opened.put("a")  # The same version once more.
    assert opened.count() == 1


def test_a_commit_that_fails_leaves_nothing_and_does_not_end_the_store(opened: Opened) -> None:
    """A key that is checked at the commit alone fails there, as a full disk may."""
    with closing(sqlite3.connect(opened.folder / clinic_sqlite.DATABASE)) as connection:
        connection.executescript(
            "CREATE TABLE trap(seq INTEGER REFERENCES version DEFERRABLE INITIALLY DEFERRED);"
            "CREATE TRIGGER trapped AFTER INSERT ON version"
            " BEGIN INSERT INTO trap VALUES (-1); END;"
        )
        with pytest.raises(StoreError):
            opened.put("a")
        connection.execute("DROP TRIGGER trapped")
    assert opened.count() == 0
    opened.put("a")
    assert opened.count() == 1


def test_a_search_that_takes_too_long_ends(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    opened.put("a")
    monkeypatch.setattr(clinic_sqlite, "SEARCH_SECONDS_MAX", -1)
    monkeypatch.setattr(clinic_sqlite, "_STEPS_PER_CHECK", 1)
    with pytest.raises(TooCostlyError):
        opened.count()
    monkeypatch.undo()
    assert opened.count() == 1


def test_a_file_of_another_format_is_not_opened(opened: Opened) -> None:
    connection = sqlite3.connect(opened.folder / clinic_sqlite.DATABASE)
    with connection:
        connection.execute("UPDATE property SET value = x'39' WHERE name = 'format'")
    connection.close()
    with pytest.raises(ConfigurationError):
        SqliteClinic(opened.folder)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_expression_can_be_asked(kind: str) -> None:
    assert {"_id", "_lastUpdated", "_tag"} <= parameters(kind).keys()
    tree = {"resourceType": kind, "id": "1", "meta": {"tag": [{"code": "x"}]}}
    assert [row.key for row in indexing.rows(tree, base="")] in (
        ["_tag"],
        ["Patient.deceased", "_tag"],
        ["_tag", "Patient.deceased"],
    )


def test_a_resource_has_only_so_many_elements_to_find(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "INDEX_ROWS_MAX", 3)
    with pytest.raises(UnprocessableError):
        indexing.rows(patient(), base="")


def test_an_element_that_no_value_can_be_made_of_is_refused() -> None:
    with pytest.raises(UnprocessableError) as caught:
        indexing.rows(patient(birthDate="soon"), base="")
    assert "soon" not in str(caught.value)
