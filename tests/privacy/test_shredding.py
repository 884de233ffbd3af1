"""Crypto-shredding: with the data key of a month goes what backups have of it."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from caretrail.errors import NotFoundError, ParameterError
from caretrail.patterns.own import Log
from caretrail.privacy import erasing, holds
from caretrail.privacy.erasing import Order
from caretrail.storage.data_keys import DataKeys, Month
from caretrail.storage.sqlite import verify
from tests.opening.logs import append, nothing, run, settings
from tests.privacy.test_erasing import marked
from tests.storage import world

if TYPE_CHECKING:
    from pathlib import Path

    from caretrail.opening import Opened
    from caretrail.settings import Settings

ORDER = Order("policy-6", "data protection officer")


def encrypting(tmp_path: Path) -> Settings:
    return settings(tmp_path, data_keys=tmp_path / "keys" / "data-keys.json")


def later(log: Opened) -> Log:
    """Return the log as it speaks years from now, when this month is over."""
    return Log(log.repository.origin, "2031-01-01T00:00:00Z")


def this_month(using: Settings) -> Month:
    assert using.data_keys is not None
    (month,) = DataKeys(using.data_keys).months()
    return month


def test_an_encrypted_log_is_read_searched_and_verified(tmp_path: Path) -> None:
    using = encrypting(tmp_path)
    bodies = world.bodies(50)
    stored = run(using, append(*bodies))

    async def work(log: Opened) -> None:
        for one, body in zip(stored, bodies, strict=True):
            record = await log.repository.read(one.id)
            assert record is not None
            assert record.body == body
            (sealed,) = await log.repository.prove(lambda p, n=one.entry: list(p.sealed(n, n + 1)))
            assert len(sealed.salt or b"") == 32

    # The log itself names the file of its keys: nobody has to say so again.
    run(replace(using, data_keys=None), work)
    assert verify(using.folder).whole
    with closing(sqlite3.connect(using.folder / "log.sqlite")) as database:
        kept = set(database.execute("SELECT substr(body, 1, 3), kind FROM event"))
    assert kept == {(b"\x02\x01\x01", 0), (b"\x01\x01\x00", 1)}


def test_encryption_may_begin_later(tmp_path: Path) -> None:
    run(settings(tmp_path), append(*world.bodies(5)))
    run(encrypting(tmp_path), append(*world.bodies(9)[5:]))
    assert verify(settings(tmp_path).folder).whole


def test_a_shredded_month_is_gone_from_a_backup_as_well(tmp_path: Path) -> None:
    using = encrypting(tmp_path)
    (gone, *_) = run(using, append(marked(), *world.bodies(20)))
    shutil.copytree(using.folder, tmp_path / "backup")
    month = this_month(using)

    async def shred(log: Opened) -> None:
        assert await erasing.shred(log.repository, later(log), month=month, order=ORDER) == 21
        assert await log.repository.read(gone.id) is None

    run(using, shred)
    report = verify(using.folder)
    assert report.whole, report.findings
    assert report.erased == 21
    assert using.data_keys is not None
    assert DataKeys(using.data_keys).months() == []
    # Whoever brings the backup back finds the entries, and nothing of what they were about.
    found = verify(tmp_path / "backup")
    assert not found.whole
    unread = [one for one in found.findings if one.entry is not None]
    assert all("data key" in one.what for one in unread)
    assert len(unread) == 21


def test_what_stands_in_the_way_is_said_before_anything_is_erased(tmp_path: Path) -> None:
    using = encrypting(tmp_path)
    (one,) = run(using, append(marked()))
    month = this_month(using)

    async def work(log: Opened) -> None:
        repository = log.repository
        with pytest.raises(ParameterError, match="not over"):
            await erasing.shred(repository, repository.speaking(), month=month, order=ORDER)
        with pytest.raises(ParameterError, match="policy"):
            await erasing.shred(repository, later(log), month=month, order=Order("", "x"))
        await holds.place(repository, "patient=Patient/q-pat-xenomark", "court")
        with pytest.raises(ParameterError, match="hold"):
            await erasing.shred(repository, later(log), month=month, order=ORDER)
        assert await repository.read(one.id) is not None

    run(using, work)
    assert this_month(using) == month


def test_a_log_without_data_keys_has_none_to_destroy(tmp_path: Path) -> None:
    async def work(log: Opened) -> None:
        with pytest.raises(NotFoundError):
            await erasing.shred(
                log.repository, log.repository.speaking(), month=Month(2015, 3), order=ORDER
            )

    run(settings(tmp_path), work)


def test_without_the_file_of_keys_nothing_is_read_and_the_reason_is_told(tmp_path: Path) -> None:
    using = encrypting(tmp_path)
    run(using, append(*world.bodies(3)))
    assert using.data_keys is not None
    using.data_keys.rename(tmp_path / "elsewhere")
    found = [one.what for one in verify(using.folder).findings if one.entry is not None]
    assert found == ["the data key of this month is not there, or was destroyed"] * 3
    # Brought back to another place, the log learns where.
    run(replace(using, data_keys=tmp_path / "elsewhere"), nothing)
    assert verify(using.folder).whole
