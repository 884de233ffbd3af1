"""The pages of feeds and alerts: every file of settings and every request on them is a good one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

from caretrail import config
from caretrail.alerting import file as alerts
from caretrail.feeding import file as feeds
from caretrail.fhir import subscription

DOCS: Final = Path(__file__).parents[2] / "docs" / "how-to"
_BLOCK: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECRET: Final = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"


def blocks(page: str, kind: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return [body for name, body in _BLOCK.findall(text) if name == kind]


def with_secrets(folder: Path, text: str) -> str:
    for name in re.findall(r'_file = "([^"]+)"', text):
        (folder / name).write_text(SECRET)
    return text


def test_the_feeds_of_the_page_are_good(tmp_path: Path) -> None:
    whole, redaction = blocks("feed-a-siem.md", "toml")
    found = feeds.read(with_secrets(tmp_path, whole), folder=tmp_path, secret=config.token)
    assert [row.wanted.name for row in found] == ["soc", "national"]
    text = with_secrets(tmp_path, f"{whole}\n{redaction}")
    assert len(feeds.read(text, folder=tmp_path, secret=config.token)) == 2


def test_the_subscription_of_the_page_is_good() -> None:
    request = next(one for one in blocks("feed-a-siem.md", "console") if "Subscription" in one)
    body = request.partition("-d '")[2].rpartition("'")[0]
    assert subscription.read(json.loads(body)).filters == ("subtype=110127",)


def test_the_alerts_of_the_page_are_good(tmp_path: Path) -> None:
    (text,) = blocks("alerts.md", "toml")
    found = alerts.read(with_secrets(tmp_path, text), folder=tmp_path, secret=config.token)
    assert list(found.channels) == ["mail-1", "webhook-1"]
    assert found.sources[0].minutes == 30
