from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.api.arr import Arr, Published

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def arr(tmp_path: Path) -> Iterator[Arr]:
    made = Arr(tmp_path)
    yield made
    made.close()


@pytest.fixture
def published(tmp_path: Path) -> Iterator[Published]:
    made = Published(tmp_path)
    yield made
    made.close()
