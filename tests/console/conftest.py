from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.console.place import House, event, house_in

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One server for all tests of the console, with people of every role and some events."""
    folder = tmp_path_factory.mktemp("console")
    for made in house_in(folder, "--no-require-second-factor"):
        made.ids = made.post([event(n) for n in range(120)])
        made.add_person("ada", "administrator")
        made.add_person("otto", "auditor")
        made.add_person("sara", "security-officer")
        made.add_person("pat", "patient", "--patient", "p1")
        yield made
