from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.clinic.hospital import Hospital

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def clinic(tmp_path: Path) -> Iterator[Hospital]:
    made = Hospital(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    """A clinic for tests that leave nothing behind that others could meet."""
    made = Hospital(tmp_path_factory.mktemp("shared"))
    yield made
    made.close()
