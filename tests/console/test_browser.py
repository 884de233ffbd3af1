"""The console in a real Chromium: what it must do for people, and what others must not do by it.

Policies, focus and colours bite only there. `package-lock.json` says which axe-core npm fetches.
"""

from __future__ import annotations

import base64
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import sync_playwright

from tests.console.place import DCM, event

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

    from tests.console.place import House

HERE: Final = Path(__file__).parent
CHROMIUM: Final = shutil.which("chromium")
_MILLISECONDS: Final = 120_000
_INSTALL_SECONDS: Final = 600
# DESIGN of the console: a page is under 200 KB.
PAGE_BYTES_MAX: Final = 200_000
pytestmark = [
    pytest.mark.skipif(
        CHROMIUM is None, reason="needs Debian's chromium: sudo scripts/install_debian.sh"
    ),
    # One server and one browser for all of them.
    pytest.mark.xdist_group("console"),
]

PAGES: Final = (
    "sign-in",
    "overview?range=1y",
    "search?range=1y",
    "search?range=1y&q=outcome:none:",
    "patients/p1?range=1y",
    "users?user=Practitioner/nora&range=1y",
    "integrity",
    "coverage",
    "exports",
    "administration",
    "no-such-page",
)


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed (scripts/install_debian.sh installs it)")
    folder = tmp_path_factory.mktemp("axe")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, folder)
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=5"]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-dev-shm-usage"]
        launched = playwright.chromium.launch(
            executable_path=CHROMIUM, args=arguments, timeout=_MILLISECONDS
        )
        yield launched
        launched.close()


def opened(chromium: Browser, house: House, **context: Any) -> Page:
    """Return a page in which the bearer of the token is signed in, by the form."""
    page = chromium.new_context(base_url=house.address, **context).new_page()
    page.set_default_timeout(_MILLISECONDS)
    page.goto("/console/")
    page.get_by_label("Token").fill(house.token())
    page.get_by_role("button", name="Sign in with the token").click()
    page.get_by_role("heading", name="Overview").wait_for()
    return page


def test_triage_with_the_keyboard_alone(chromium: Browser, house: House) -> None:
    """From the overview to a failed event and its proof, without the pointer (J-07, J-11)."""
    house.post([event(5, outcome="8", recorded="2026-11-20T10:00:00Z", outcomeDesc="forbidden")])
    page = opened(chromium, house)
    page.keyboard.press("g")
    page.keyboard.press("s")
    page.get_by_role("heading", name="events", exact=False).first.wait_for()
    page.keyboard.press("/")
    page.keyboard.type("outcome:8 forbidden")
    page.keyboard.press("Enter")
    page.wait_for_url("**q=outcome%3A8+forbidden**")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.get_by_text("Nora Test tried to read Observation/o5").wait_for()
    page.get_by_role("link", name="Verify now").focus()
    page.keyboard.press("Enter")
    page.get_by_text("It holds.").wait_for()
    assert page.locator("svg.path rect.root").count() == 1
    page.context.close()


def test_every_page_is_accessible_small_and_of_this_server_alone(
    chromium: Browser, house: House, axe: str
) -> None:
    """WCAG 2.2 AA as far as axe-core tells, in light and dark; budgets; no third party."""
    wrong: list[str] = []
    for scheme in ("light", "dark"):
        page = opened(chromium, house, color_scheme=scheme)
        hosts: set[str] = set()
        complaints: list[str] = []
        page.on("request", lambda request, hosts=hosts: hosts.add(urlsplit(request.url).netloc))
        page.on("console", lambda message, said=complaints: said.append(message.text))
        for path in (*PAGES, f"events/{house.ids[0]}?verify=1"):
            answer = page.goto(f"/console/{path}")
            assert answer is not None
            if len(answer.body()) >= PAGE_BYTES_MAX:
                wrong.append(f"{path} has {len(answer.body())} bytes")
            # The policy lets no script in; the debugger's own way is not the page's.
            page.evaluate(axe)
            tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
            found = page.evaluate("tags => axe.run({runOnly: tags})", tags)
            assert found["passes"], path
            wrong += [
                f"{scheme} {path}: {one['id']} {one['nodes'][0]['html'][:150]}"
                for one in found["violations"]
                if one["impact"] in ("serious", "critical")
            ]
        assert hosts == {urlsplit(house.address).netloc}
        assert not [one for one in complaints if "Content Security Policy" in one]
        page.context.close()
    assert not wrong, "\n".join(wrong)


ATTACK: Final = "\"'><img src=x onerror=pwned=1><script>pwned=1</script>{{7*7}}</title></textarea>"


def poisoned() -> dict[str, Any]:
    """Return an event with markup in every element that takes text (T-18)."""
    coding = {"system": "urn:x", "code": "x", "display": ATTACK}
    concept = {"coding": [coding], "text": ATTACK}
    extension = [{"url": "urn:x", "valueString": ATTACK}]
    who = {"reference": "Practitioner/evil", "display": ATTACK, "identifier": {"value": ATTACK}}
    made = event(
        1,
        recorded="2026-11-21T10:00:00Z",
        outcome="8",
        outcomeDesc=ATTACK,
        purposeOfEvent=[concept],
        extension=extension,
        type={"system": DCM, "code": "110110", "display": ATTACK},
        subtype=[coding],
    )
    made["agent"] = [
        {
            "type": concept,
            "role": [concept],
            "who": who,
            "altId": ATTACK,
            "name": ATTACK,
            "requestor": True,
            "location": {"display": ATTACK},
            "policy": ["javascript:pwned=1"],
            "network": {"address": ATTACK, "type": "1"},
            "purposeOfUse": [concept],
            "extension": extension,
        },
        {"who": {"display": ATTACK}, "requestor": False},
    ]
    made["source"] = {"site": ATTACK, "observer": {"display": ATTACK}, "type": [coding]}
    made["entity"] = [
        {
            "what": {"reference": "Patient/p2", "display": ATTACK},
            "type": coding,
            "role": coding,
            "name": ATTACK,
            "description": ATTACK,
            "securityLabel": [coding],
            "detail": [{"type": ATTACK, "valueString": ATTACK}],
        },
        {
            "what": {"reference": "javascript:pwned=1", "identifier": {"value": ATTACK}},
            "query": base64.b64encode(ATTACK.encode()).decode(),
        },
    ]
    return made


def test_nothing_that_an_event_says_becomes_markup(chromium: Browser, house: House) -> None:
    (event_id,) = house.post([poisoned()])
    page = opened(chromium, house)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    for path in (
        "overview?range=30d",
        "search?range=all&q=agent:Practitioner/evil",
        f"events/{event_id}?verify=1",
        "patients/p2?range=30d",
        "users?user=Practitioner/evil&range=30d",
        f"search?q={ATTACK.replace('#', '')}",
        f"users?user={ATTACK}",
        f"patients/{ATTACK.replace('/', '')}",
        f"search?tz={ATTACK}&sort={ATTACK}&page={ATTACK}",
    ):
        page.goto(f"/console/{path}")
        assert page.evaluate("typeof window.pwned") == "undefined", path
        assert page.locator("img[src=x]").count() == 0
        assert page.locator("script:not([src])").count() == 0
        assert page.locator('[href^="javascript:"]').count() == 0
        assert "49" not in (page.title())
    assert not [one for one in complaints if "Content Security Policy" in one], complaints
    page.goto(f"/console/events/{event_id}")
    assert page.get_by_text("onerror=pwned").count() > 5
    page.context.close()


def test_pages_are_useful_without_scripts(chromium: Browser, house: House) -> None:
    page = opened(chromium, house, java_script_enabled=False)
    page.goto("/console/search?range=1y")
    page.get_by_label("Search events").fill("user:Practitioner/nora")
    page.get_by_role("button", name="Search", exact=True).click()
    page.locator("table.events a.open").first.click()
    page.get_by_text("Nora Test").first.wait_for()
    page.get_by_role("link", name="Verify now").click()
    page.get_by_text("It holds.").wait_for()
    page.context.close()


def test_a_column_of_the_picture_is_a_way_in(chromium: Browser, house: House) -> None:
    page = opened(chromium, house)
    page.goto("/console/search?q=user:Practitioner/nora&from=2026-11-01&to=2026-11-03")
    assert page.get_by_role("heading", name="120 events").count() == 1
    address = page.locator("figure.chart svg a").first.get_attribute("href")
    assert address is not None
    page.goto(address)
    assert page.get_by_role("heading", name="60 events").count() == 1
    page.go_back()
    assert page.get_by_role("heading", name="120 events").count() == 1
    page.context.close()


def test_the_switch_of_colours_is_kept(chromium: Browser, house: House) -> None:
    page = opened(chromium, house, color_scheme="light")
    page.get_by_role("button", name="Dark").click()
    page.goto("/console/search")
    assert page.locator("html").get_attribute("data-theme") == "dark"
    page.get_by_role("button", name="Light").wait_for()
    page.context.close()


def test_nobody_else_can_frame_a_page(chromium: Browser, house: House) -> None:
    page = opened(chromium, house)
    refused: list[str] = []
    page.on("console", lambda message: refused.append(message.text))
    page.route(
        "https://evil.example/",
        lambda route: route.fulfill(
            content_type="text/html",
            body=f'<iframe src="{house.address}/console/overview"></iframe>',
        ),
    )
    page.goto("https://evil.example/")
    page.wait_for_function("document.querySelector('iframe') !== null")
    frame = page.frames[-1]
    assert "Overview" not in frame.content()
    page.context.close()


def test_a_table_follows_the_log_if_somebody_wants_that(chromium: Browser, house: House) -> None:
    page = opened(chromium, house)
    page.goto("/console/search?q=site:Newcomers&range=all&count=25")
    page.get_by_text("No event fits").wait_for()
    at = "2026-11-22T10:00:00Z"
    one = {"site": "Newcomers", "observer": {"display": "one"}}
    house.post([event(1, recorded=at, source=one)])
    page.reload()
    assert page.locator("table.events tbody tr").count() == 1
    page.get_by_label("Follow the log").check()
    two = {"site": "Newcomers", "observer": {"display": "two"}}
    house.post([event(3, recorded=at, source=two)])
    page.locator("table.events tbody tr").nth(1).wait_for()
    page.context.close()
