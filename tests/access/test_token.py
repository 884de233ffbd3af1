"""The bearer token of a data folder."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from caretrail.access import token
from caretrail.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_token_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    made = token.load(tmp_path)
    assert len(made) >= 43
    assert token.load(tmp_path) == made
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600


def test_two_folders_have_two_tokens(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    assert token.load(tmp_path) != token.load(tmp_path / "a")


def test_a_token_that_others_may_read_is_refused(tmp_path: Path) -> None:
    token.load(tmp_path)
    (tmp_path / "token").chmod(0o640)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        token.load(tmp_path)


@pytest.mark.parametrize("text", ["", "short", "a b" * 20, "ä" * 50, "x" * 2000])
def test_a_file_without_a_token_is_refused_without_its_text(tmp_path: Path, text: str) -> None:
    (tmp_path / "token").write_text(text)
    (tmp_path / "token").chmod(0o600)
    with pytest.raises(ConfigurationError) as caught:
        token.load(tmp_path)
    assert not text or text not in str(caught.value)


def test_a_link_in_the_place_of_the_token_is_not_followed(tmp_path: Path) -> None:
    os.symlink(tmp_path / "elsewhere", tmp_path / "token")
    with pytest.raises(ConfigurationError):
        token.load(tmp_path)
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be written"):
        token.load(tmp_path / "missing")


def test_a_token_that_nobody_has_is_another_each_time() -> None:
    assert token.unheld() != token.unheld()
