"""Static tiles: a folder that a verifier of tlog-tiles can work with, brought up step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from caretrail.errors import ConflictError
from caretrail.exporting.static_tiles import Written, write_tiles
from caretrail.tlog.checkpoint import Checkpoint
from caretrail.tlog.note import Note
from caretrail.tlog.prover import Prover
from caretrail.tlog.tile import Bundle, bundles, decode_entries, tiles
from caretrail.tlog.tree import leaf_hash
from tests.exporting.world import fill, within

if TYPE_CHECKING:
    from pathlib import Path

    from caretrail.opening import Opened
    from caretrail.tlog.tile import Tile


class Folder:
    """Reads tiles out of files, as anybody would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def hashes(self, tile: Tile) -> bytes:
        return (self.folder / tile.path()).read_bytes()

    def checkpoint(self) -> Checkpoint:
        return Checkpoint.parse(Note.parse((self.folder / "checkpoint").read_bytes()).text)

    def entries(self, size: int) -> list[bytes]:
        found: list[bytes] = []
        for one in bundles(size):
            data = (self.folder / Bundle(one.n, one.width).path()).read_bytes()
            found += decode_entries(data, width=one.width)
        return found


async def write(log: Opened, folder: Path, *, entries: bool = False) -> Written:
    return await write_tiles(log.repository, log.publisher, folder, entries=entries)


def whole(folder: Path, *, entries: bool) -> bool:
    """Tell whether the files lead to the root of the checkpoint that lies beside them."""
    files = Folder(folder)
    tree = files.checkpoint()
    if entries:
        leaves = b"".join(leaf_hash(one) for one in files.entries(tree.size))
        hashes = b"".join(files.hashes(one) for one in tiles(tree.size) if one.tier == 0)
        assert leaves == hashes
    return Prover(files).root(tree.size) == tree.root


def test_the_files_are_a_whole_tree(tmp_path: Path) -> None:
    folder = tmp_path / "tiles"
    written = within(tmp_path, lambda log: write(log, folder, entries=True), count=600)
    assert written.size == 601
    assert written.files == len(list(tiles(601))) + len(list(bundles(601)))
    assert whole(folder, entries=True)
    assert not list(folder.rglob(".*"))


def test_only_what_is_new_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "tiles"

    async def do(log: Opened) -> list[Written]:
        found = [await write(log, folder)]
        await fill(log, 300, start=1000)
        found.append(await write(log, folder))
        found.append(await write(log, folder))
        return found

    first, second, third = within(tmp_path, do, count=1000)
    assert (first.size, second.size) == (1001, 1301)
    assert second.files == len(list(tiles(1301, since=1001))) < first.files
    assert third.files == 0
    assert whole(folder, entries=False)


def test_entries_may_be_asked_for_later_and_now_and_then(tmp_path: Path) -> None:
    folder = tmp_path / "tiles"

    async def do(log: Opened) -> None:
        await write(log, folder)
        for n, with_entries in enumerate((True, False, False, True)):
            await fill(log, 300, start=300 * n)
            await write(log, folder, entries=with_entries)
        assert whole(folder, entries=True)

    within(tmp_path, do, count=0)


def test_a_folder_of_another_tree_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "tiles"
    within(tmp_path / "a", lambda log: write(log, folder))
    before = (folder / "checkpoint").read_bytes()

    async def other(log: Opened) -> None:
        with pytest.raises(ConflictError, match="another log"):
            await write(log, folder)

    within(tmp_path / "b", other)
    assert (folder / "checkpoint").read_bytes() == before


def test_a_folder_that_the_log_does_not_continue_is_evidence(tmp_path: Path) -> None:
    folder = tmp_path / "tiles"

    async def do(log: Opened) -> None:
        await write(log, folder)
        path = folder / "checkpoint"
        origin, size, _, *rest = path.read_text(encoding="utf-8").split("\n")
        path.write_text("\n".join([origin, size, "A" * 43 + "=", *rest]), encoding="utf-8")
        with pytest.raises(ConflictError, match="does not continue"):
            await write(log, folder)

    within(tmp_path, do)
