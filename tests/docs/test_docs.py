"""The documentation says what the code does, and its links lead somewhere."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from caretrail.search.record import FLAG_CODES
from caretrail.storage.sqlite.schema import TABLES
from caretrail.tlog.entry import NO_NUMBER, TAG_BYTES, VERSION, Entry

if TYPE_CHECKING:
    from types import ModuleType

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = ROOT / "docs"
PAGES: Final = tuple(sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")]))
_LINK: Final = re.compile(r"\]\(([^)\s]+)\)")
_HEADING: Final = re.compile(r"^#+ +(.+)$", re.MULTILINE)
_CODE: Final = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "reference_docs", ROOT / "scripts" / "reference_docs.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


reference_docs: Final[Any] = _script()


@pytest.mark.parametrize("name", reference_docs.TABLES)
def test_a_table_says_what_the_code_says(name: str) -> None:
    page = (DOCS / "reference" / f"{name}.md").read_text(encoding="utf-8")
    made = reference_docs.rendered(page, reference_docs.TABLES[name](), name)
    assert page == made, "run: .venv/bin/python scripts/reference_docs.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(_CODE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue  # Another site's; the tests have no network.
        target, _, part = link.partition("#")
        found = (page.parent / target).resolve() if target else page
        assert found.exists(), f"{page.name}: {link} leads nowhere"
        assert ROOT in found.parents, f"{page.name}: {link} leaves the repository"
        if part:
            assert part in _anchors(found), f"{page.name}: {link} names no heading"


def _anchors(page: Path) -> set[str]:
    headings = _HEADING.findall(page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in headings}


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        for link in _LINK.findall(page.read_text(encoding="utf-8")):
            target = (page.parent / link.partition("#")[0]).resolve()
            if target.is_dir():
                waiting += target.glob("*.md")
            elif target.suffix == ".md" and target.exists():
                waiting.append(target)
    assert set(PAGES) <= reached


def test_decisions_are_numbered_and_say_what_they_have_to() -> None:
    pages = sorted((DOCS / "adr").glob("*.md"))
    assert [page.name[:4] for page in pages] == [f"{n:04}" for n in range(1, len(pages) + 1)]
    for page in pages:
        headings = _HEADING.findall(page.read_text(encoding="utf-8"))
        assert headings[1:] == ["Context", "Decision", "Consequences"], page.name


def test_the_changelog_has_a_place_for_the_next_change() -> None:
    headings = _HEADING.findall((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    assert headings[:2] == ["Changelog", "Unreleased"]


def test_the_entry_format_is_the_one_that_is_written() -> None:
    """Take an entry apart by the offsets of the page alone."""
    page = (DOCS / "reference" / "entry-format.md").read_text(encoding="utf-8")
    entry = Entry(
        kind=1, form=2, flags=0x0304, log=b"l" * 16, event=b"e" * 16, received=5,
        producer=b"p" * 16, number=None, commitment=b"c" * 32, tags=(b"t" * TAG_BYTES,) * 2,
    )  # fmt: skip
    data = entry.encode()
    rows = re.findall(r"^\| (\d+) \| (\d+)(?: each)? \| (\w+) \|", page, re.MULTILINE)
    found = {name: data[int(at) : int(at) + int(count)] for at, count, name in rows}
    assert found == {
        "version": VERSION,
        "kind": b"\1",
        "form": b"\2",
        "flags": b"\3\4",
        "log": entry.log,
        "event": entry.event,
        "received": entry.received.to_bytes(8),
        "producer": entry.producer,
        "number": NO_NUMBER.to_bytes(8),
        "commitment": entry.commitment,
        "tags": b"\2",
        "tag": entry.tags[0],
    }
    *_, last = rows
    assert int(last[0]) + len(entry.tags) * int(last[1]) == len(data)


@pytest.mark.parametrize("name", ["entry-format", "search-parameters"])
def test_every_flag_is_explained(name: str) -> None:
    page = (DOCS / "reference" / f"{name}.md").read_text(encoding="utf-8")
    for flag, code in FLAG_CODES.items():
        assert re.search(rf"^\|(?: {int(flag)} \|)? `{code}` \|", page, re.MULTILINE), code


def test_every_stored_table_is_described() -> None:
    page = (DOCS / "reference" / "storage-sqlite.md").read_text(encoding="utf-8")
    tables = re.findall(r"CREATE (?:VIRTUAL )?TABLE (\w+)", TABLES)
    assert set(tables) == set(re.findall(r"^\| `(\w+)` \| ", page, re.MULTILINE)) - {
        "exports",
        "lock",
        "token",
    }
