"""The pages in a real Chromium: set-up, second factor, consent, and back to the application.

Policies bite only there: where a form may lead, which cookies come back, what a page may load.
"""

from __future__ import annotations

import re
import shutil
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Final

import pyotp
import pytest
from playwright.sync_api import sync_playwright

from tests.access.server.test_served import PASSWORD, Place, place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page

__all__ = ["place"]

CHROMIUM: Final = shutil.which("chromium")
# A loaded machine is slow, and nothing here is about time.
_MILLISECONDS: Final = 120_000
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="needs Debian's chromium: sudo scripts/install_debian.sh"
)


class Application:
    """An application that waits for its answer, on an address of its own."""

    def __init__(self) -> None:
        asked = self.asked = list[str]()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"thank you")

            def log_message(self, *_: object) -> None:
                """Say nothing: there is a code in the address."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/callback"
        Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def application() -> Iterator[Application]:
    made = Application()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-dev-shm-usage"]
        launched = playwright.chromium.launch(
            executable_path=CHROMIUM, args=arguments, timeout=_MILLISECONDS
        )
        made = launched.new_page()
        made.set_default_timeout(_MILLISECONDS)
        yield made
        launched.close()


def test_a_person_gets_from_the_link_to_the_application(
    place: Place, page: Page, application: Application
) -> None:
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    *_, link = place.access("add-user", "nora", "--display", "Nora Test", "--role", "auditor")
    place.access(
        *("add-client", "viewer", "--name", "<b>Viewer</b>", "--method", "none"),
        *("--grant", "authorization_code", "--redirect", application.address),
        *("--scope", "launch/patient patient/AuditEvent.rs"),
    )
    page.goto(link)
    page.get_by_label("Password, 12 characters or more").fill(PASSWORD)
    page.get_by_label("The password again").fill(PASSWORD)
    page.get_by_role("button", name="Go on").click()
    key = page.locator("code").inner_text().replace(" ", "")
    page.get_by_label("The six digits").fill(pyotp.TOTP(key).now())
    page.get_by_role("button", name="Go on").click()
    page.get_by_text("Signed in as").wait_for()
    (cookie,) = page.context.cookies()
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Lax"
    query = (
        f"response_type=code&client_id=viewer&redirect_uri={application.address}&state=s"
        f"&scope=launch/patient%20patient/AuditEvent.rs&aud={place.address}/fhir"
        f"&code_challenge={'c' * 43}&code_challenge_method=S256"
    )
    page.goto(f"{place.address}/auth/authorize?{query}")
    # What a client calls itself is text, and no markup (T-18).
    assert page.get_by_role("heading").inner_text() == "<b>Viewer</b> asks for access"
    page.get_by_label(re.compile("The patient")).fill("p1")
    page.get_by_role("button", name="Permit").click()
    page.get_by_text("thank you").wait_for()
    answer = next(path for path in application.asked if path.startswith("/callback?"))
    assert "code=" in answer
    assert "state=s" in answer
    page.goto(f"{place.address}/auth/account")
    page.get_by_role("button", name="Sign out").click()
    page.get_by_text("You are signed out").wait_for()
    assert not [text for text in complaints if "favicon" not in text]
