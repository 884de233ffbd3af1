"""The tree as static files, to be served by anything that serves files (C2SP tlog-tiles)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from caretrail import durable_file
from caretrail.errors import ConflictError, StoreError, UnavailableError
from caretrail.exporting.announcing import Progress, in_thread
from caretrail.limits import EXPORT_CHECKPOINT_SECONDS_MAX, NOTE_BYTES_MAX
from caretrail.tlog.checkpoint import Checkpoint
from caretrail.tlog.note import Note
from caretrail.tlog.tile import Bundle, Tile, bundles, encode_entries, tiles
from caretrail.tlog.tree import TILE_WIDTH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from caretrail.publisher.publishing import Publisher
    from caretrail.repository import Repository
    from caretrail.storage.contract import Proofs

_CHECKPOINT = "checkpoint"
_MODE = 0o644
_TILES_AT_ONCE = 16


class Written(NamedTuple):
    """What is in the folder now: a tree of `size`, for which `files` were written this time."""

    size: int
    files: int


async def write_tiles(
    repository: Repository,
    publisher: Publisher,
    folder: Path,
    *,
    entries: bool,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Written:
    """Bring the folder up to the signed tree; only what it does not have yet is written.

    The checkpoint comes last, so what it promises is there at every moment; each file is whole or
    absent. Where witnesses are set up it is a cosigned one. With `entries` the entry bundles are
    written as well. Raises ConflictError where the folder has another tree.
    """
    signed = await publisher.covering(
        repository.size - 1,
        cosigned=publisher.has_witnesses,
        seconds=EXPORT_CHECKPOINT_SECONDS_MAX,
    )
    if signed is None:
        raise UnavailableError("no checkpoint over the whole log was signed and cosigned in time")
    size = signed.size
    old = await in_thread(lambda: _found(folder, repository.origin))
    if old is not None:
        await repository.prove(lambda proofs: _continue(proofs, old, size))
    since = old.size if old is not None else 0
    wanted: list[Tile | Bundle] = list(tiles(size, since=since))
    if entries:
        # Those of the older tree may be there or not: they need not have been asked for before.
        wanted += (
            one
            for one in bundles(size)
            if not (one.within(since) and (folder / one.path()).exists())
        )
    for at in range(0, len(wanted), _TILES_AT_ONCE):
        some = wanted[at : at + _TILES_AT_ONCE]
        bodies = await repository.prove(
            lambda proofs, some=some: [(one.path(), content(proofs, one)) for one in some]  # type: ignore[misc]
        )
        await in_thread(partial(_write, folder, bodies))
        on_progress(Progress(at + len(some), len(wanted)))
    await in_thread(lambda: _write(folder, [(_CHECKPOINT, signed.note.format())]))
    return Written(size, len(wanted))


def _found(folder: Path, origin: str) -> Checkpoint | None:
    """Return the checkpoint that the folder has, which must be of this log."""
    path = folder / _CHECKPOINT
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            return None
        with path.open("rb") as opened:
            note = Note.parse(opened.read(NOTE_BYTES_MAX + 1))
    except OSError as error:
        raise StoreError(f"the folder of tiles cannot be used ({error.strerror})") from error
    found = Checkpoint.parse(note.text)
    if found.origin != origin:
        raise ConflictError("the folder has the tiles of another log: choose another one")
    return found


def _continue(proofs: Proofs, old: Checkpoint, size: int) -> None:
    if old.size > size or proofs.prover.root(old.size) != old.root:
        raise ConflictError(
            "the folder has a tree that this log does not continue. That is evidence of two"
            " histories, or of a log that was restored: keep the folder, and see caretrail verify"
        )


def content(proofs: Proofs, named: Tile | Bundle) -> bytes:
    """Return the bytes of a tile or of an entry bundle."""
    if isinstance(named, Tile):
        return proofs.hashes(named)
    first = named.n * TILE_WIDTH
    return encode_entries([one.data for one in proofs.sealed(first, first + named.width)])


def _write(folder: Path, bodies: list[tuple[str, bytes]]) -> None:
    try:
        for name, body in bodies:
            path = folder / name
            _make(path.parent, folder)
            durable_file.replace(path, body, mode=_MODE)
    except OSError as error:
        raise StoreError(f"the folder of tiles cannot be written ({error.strerror})") from error


def _make(folder: Path, top: Path) -> None:
    """Make a folder below `top`, so that it is found again after a power cut."""
    for one in reversed(list(_missing(folder, top))):
        one.mkdir(exist_ok=True)
        durable_file.sync_folder(one.parent)


def _missing(folder: Path, top: Path) -> Iterator[Path]:
    while folder != top and not folder.exists():
        yield folder
        folder = folder.parent
