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


def test_the_page_asks_nobody_and_complains_of_nothing(page: Browser) -> None:
    assert set(page.asked) == {f"file://{PAGE}"}
    assert page.complaints == []


def test_the_page_runs_nothing_but_its_own_script() -> None:
    text = PAGE.read_text(encoding="utf-8")
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    allowed = {}
    for tag in ("script", "style"):
        (body,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        allowed[tag] = f"'sha256-{b64encode(sha256(body.encode()).digest()).decode()}'"
    assert policy == (
        f"default-src 'none'; script-src {allowed['script']}; style-src {allowed['style']}; "
        "base-uri 'none'; form-action 'none'"
    )
    assert not re.search(r"\son\w+=|\sstyle=|https?:|innerHTML|eval\(", text)


def test_a_browser_cannot_check_ml_dsa_and_the_page_says_so(page: Browser) -> None:
    world = World()
    policy = f"log {world.key.vkey()}\nwitness q {world.quantum.vkey()}\nquorum q\n".encode()
    checkpoint = world.checkpoint(signers=[world.key, world.quantum])
    said = page.says(world.resigned(world.members(world.evidence(checkpoint=checkpoint))), policy)
    assert [one["code"] for one in said["findings"]] == ["no-quorum"]
    assert "not checked here" in (page.page.text_content("#reservations") or "")


def test_the_page_says_what_is_not_proved(page: Browser) -> None:
    world = World()
    bundle = world.resigned(world.members())
    page.says(bundle)
    assert "the keys come from the bundle itself" in (page.page.text_content("#reservations") or "")
    assert world.key.vkey() in (page.page.text_content("#vouchers") or "")
    page.says(bundle, world.policy())
    assert "the bundle itself" not in (page.page.text_content("#reservations") or "")


def test_the_page_shows_markup_as_text(page: Browser) -> None:
    world = World()
    asked = {"query": "<img src=x onerror=alert(1)>"}
    page.says(world.resigned(world.members(world.evidence(selection=asked))))
    assert asked["query"] in (page.page.text_content("#facts") or "")
    assert page.page.locator("img").count() == 0


def test_the_page_can_be_used_without_a_mouse(page: Browser) -> None:
    world = World()
    page.says(world.resigned(world.members()))
    assert page.page.locator("#verdict:focus").count() == 1
    for name in ("bundle", "policy"):
        assert page.page.locator(f"label:has(#{name})").count() == 1
    assert page.page.locator("#status[role=status]").count() == 1
