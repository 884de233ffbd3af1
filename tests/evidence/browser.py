"""verify.html in a real Chromium, opened from the disk as an auditor would open it."""

from __future__ import annotations

import json
import re
import shutil
from contextlib import contextmanager
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

import pytest
from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Page

PAGE: Final = resources.files("caretrail.evidence").joinpath("verify.html")
_DONE: Final = re.compile("^(Checked|This browser)")
CHROMIUM: Final = shutil.which("chromium")


class Browser:
    """The page, and everything that it asked a network for."""

    def __init__(self, page: Page, folder: Path) -> None:
        self.page = page
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self._folder = folder
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(f"file://{PAGE}")

    def says(self, bundle: bytes, policy: bytes | None = None) -> dict[str, Any]:
        """Choose the files, and return the report for machines."""
        self.page.reload()
        if policy is not None:
            self.page.set_input_files("#policy", self._file("policy.txt", policy))
        self.page.set_input_files("#bundle", self._file("bundle.zip", bundle))
        # Nothing may be evaluated from here: the page's own policy forbids it.
        self.page.locator("#status", has_text=_DONE).wait_for()
        status = self.page.text_content("#status")
        assert status is not None
        assert status.startswith("Checked bundle.zip"), status
        said: dict[str, Any] = json.loads(self.page.text_content("#json") or "")
        return said

    def _file(self, name: str, body: bytes) -> Path:
        path = self._folder / name
        path.write_bytes(body)
        return path


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """Open the page, or skip where there is no Chromium."""
    if CHROMIUM is None:
        pytest.skip("needs Debian's chromium: sudo scripts/install_debian.sh")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield Browser(chromium.new_page(), folder)
        finally:
            chromium.close()
