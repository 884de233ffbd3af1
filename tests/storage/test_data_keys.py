"""Data keys: what is sealed opens with its month's key, and with nothing after that is destroyed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caretrail.errors import ConfigurationError, NotFoundError, ParameterError, StoreError
from caretrail.storage.data_keys import DataKeys, Month

if TYPE_CHECKING:
    from pathlib import Path

MARCH, APRIL = Month(2015, 3), Month(2015, 4)


def keys(folder: Path) -> DataKeys:
    return DataKeys(folder / "keys", data=folder / "log")


@given(number=st.integers(0, 65_535))
def test_a_month_has_one_number_and_one_spelling(number: int) -> None:
    month = Month.numbered(number)
    assert month.number == number
    assert Month.parse(str(month)) == month


@pytest.mark.parametrize(
    "text", ["2015", "2015-13", "2015-3", "15-03", "1969-12", "2015-03-01", "٢٠١٥-٠٣"]
)
def test_what_is_no_month_is_refused(text: str) -> None:
    with pytest.raises(ParameterError):
        Month.parse(text)


def test_the_month_is_that_of_utc() -> None:
    assert Month.of(0) == Month(1970, 1)
    assert Month.of(1_425_167_999_999) == Month(2015, 2)
    assert Month.of(1_425_168_000_000) == MARCH


def test_what_is_sealed_opens_also_after_a_restart(tmp_path: Path) -> None:
    sealed = keys(tmp_path).seal(b"content", month=MARCH, about=b"event 1")
    # The month's number, the nonce, the content, and the tag of AES-GCM.
    assert len(sealed) == 2 + 12 + len(b"content") + 16
    assert keys(tmp_path).open(sealed, about=b"event 1") == b"content"
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o600


def test_what_is_sealed_for_one_event_opens_for_no_other(tmp_path: Path) -> None:
    made = keys(tmp_path)
    sealed = made.seal(b"content", month=MARCH, about=b"event 1")
    for changed, about in (
        (sealed, b"event 2"),
        (sealed[:-1] + bytes([sealed[-1] ^ 1]), b"event 1"),
    ):
        with pytest.raises(StoreError, match="damaged"):
            made.open(changed, about=about)


def test_a_destroyed_key_opens_nothing_and_never_comes_back(tmp_path: Path) -> None:
    made, other = keys(tmp_path), keys(tmp_path)
    march = made.seal(b"march", month=MARCH, about=b"")
    april = made.seal(b"april", month=APRIL, about=b"")
    assert other.months() == [MARCH, APRIL]
    made.destroy(MARCH)
    for one in (made, other, keys(tmp_path)):
        with pytest.raises(StoreError, match="destroyed"):
            one.open(march, about=b"")
        assert one.open(april, about=b"") == b"april"
    with pytest.raises(StoreError):
        keys(tmp_path).seal(b"new", month=MARCH, about=b"")
    with pytest.raises(NotFoundError):
        made.destroy(MARCH)
    assert keys(tmp_path).months() == [APRIL]


def test_a_reader_finds_the_key_of_a_month_that_began_later(tmp_path: Path) -> None:
    writer, reader = keys(tmp_path), keys(tmp_path)
    sealed = writer.seal(b"content", month=MARCH, about=b"")
    assert reader.open(sealed, about=b"") == b"content"


def test_the_keys_may_not_lie_in_the_data_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="inside the data folder"):
        DataKeys(tmp_path / "log" / "keys", data=tmp_path / "log")


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b'{"format":"caretrail/data-keys/v2","keys":{}}', b'{"format":"caretrail/data-keys/v1","keys":{"2015-03":"AA=="}}', b'{"format":"caretrail/data-keys/v1","keys":{"2015-03":"?"}}'],
)  # fmt: skip
def test_damaged_keys_are_refused_and_left_alone(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigurationError):
        keys(tmp_path)
    assert path.read_bytes() == content


def test_keys_that_others_can_read_are_refused(tmp_path: Path) -> None:
    keys(tmp_path).seal(b"", month=MARCH, about=b"")
    (tmp_path / "keys").chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        keys(tmp_path)


def test_a_file_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        DataKeys(tmp_path / "file" / "keys", data=tmp_path / "log")
