"""The log of a test, on each kind of store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.storage.stores import KINDS, Log

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(params=KINDS)
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Log:
    return Log(KINDS[request.param], tmp_path)
