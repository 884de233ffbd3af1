from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.access.server.office import Office

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """Return an office for tests of what is refused: it is after each as it was before."""
    with Office(tmp_path_factory.mktemp("office")) as made:
        yield made


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    with Office(tmp_path) as made:
        yield made
