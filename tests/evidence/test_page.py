"""verify.html says of every bundle what verify.py says of it."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest

from caretrail.evidence import verify
from tests.evidence.attacks import ATTACKS, Attack
from tests.evidence.browser import PAGE, Browser, browser
from tests.evidence.maker import World
from tests.evidence.test_verify import GOOD

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.xdist_group("chromium")  # One browser for all.


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


def comparable(said: dict[str, Any]) -> dict[str, Any]:
    """Return the report without its sentences, which each verifier words for itself."""
    plain = {**said}
    for name in ("findings", "remarks"):
        plain[name] = sorted({(one["code"], one["where"]) for one in said[name]})
    return plain


@pytest.mark.parametrize("name", [*GOOD, *ATTACKS])
def test_both_verifiers_say_the_same(name: str, page: Browser) -> None:
    made = GOOD[name](World()) if name in GOOD else ATTACKS[name][0](World())
    attack = made if isinstance(made, Attack) else Attack(made)
    said = comparable(page.says(*attack))
    assert said == comparable(verify.machine(verify.Check(*attack)))
    shown = page.page.text_content("#verdict")
    assert shown == (
        "Everything holds." if said["holds"] else "Does not hold. Do not rely on this bundle."
    )
