"""The comparison with other servers, against one that is not ours to ask: the floor, once more."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from caretrail.bench import children

if TYPE_CHECKING:
    from types import ModuleType

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "peers" / "compare.py"


@pytest.fixture(scope="module")
def compare() -> ModuleType:
    spec = importlib.util.spec_from_file_location("compare", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["compare"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_contestant_has_its_row(
    compare: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    with children.floor() as (_, address):
        peer = f"other=http://127.0.0.1:{address.port}/any/base"
        compare.main(["--peer", peer, "--seconds", "0.3", "--rounds", "1"])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    at = [number for number, row in enumerate(rows) if row[:1] in (["single"], ["bundle"])]
    singles = {row[0]: row for row in rows[at[0] + 1 : at[1] - 1]}
    assert singles.keys() == {"floor", "caretrail", "other"}
    assert singles["floor"][2] == "1.000"
    assert singles["caretrail"][3] == "1.000"
    assert all(float(row[1]) > 0 for row in singles.values())
    assert singles["other"][5] == "-"  # It is not ours: nobody knows what it used.
    bundles = {row[0]: row for row in rows[at[1] + 1 :]}
    # The floor answers a Bundle, and says nothing of its entries: none of them counts.
    assert bundles["other"][1] == "0"
    assert bundles["other"][-2:] == ["not", "taken"]


@pytest.mark.parametrize("peer", ["nothing", "hapi=ftp://127.0.0.1/fhir", "hapi=https://h/fhir"])
def test_an_address_that_cannot_be_measured_is_said(compare: ModuleType, peer: str) -> None:
    with pytest.raises(SystemExit):
        compare.main(["--peer", peer])
