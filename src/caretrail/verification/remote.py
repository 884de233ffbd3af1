"""A running log by HTTP: its checkpoints, its hash tiles, and what is remembered of the last time.

The tree is grown from the leaf hashes that the log serves (C2SP tlog-tiles), and has to have the
root of every checkpoint that the log has signed, and of the one that is remembered. So a log that
goes back, or shows another history, is found out. The tiles above have to be those of the leaves.
Only a frontier and a row of each tier are held in memory.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import httpx
import msgspec

from caretrail import durable_file
from caretrail.errors import ConfigurationError, UnavailableError, VerificationError
from caretrail.limits import NOTE_BYTES_MAX, TILE_BYTES_MAX
from caretrail.tlog import tile
from caretrail.tlog import tree as merkle
from caretrail.tlog.checkpoint import Checkpoint, SignedCheckpoint
from caretrail.tlog.cosignature import verifier
from caretrail.tlog.entry import Entry
from caretrail.tlog.key_history import KeyHistory
from caretrail.tlog.note import Note
from caretrail.tlog.tile import Bundle, Tile
from caretrail.tlog.tree import TILE_HEIGHT, TILE_WIDTH, Tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from caretrail.tlog.policy import Accepted, Policy
    from caretrail.tlog.tree import Node

_SECONDS: Final = 30.0
# The position is written down after so many tiles, half a million leaves.
_TILES_BETWEEN: Final = 2_048
_HEADERS: Final = {"accept-encoding": "identity", "user-agent": "caretrail"}
ON_TRUST: Final = (
    "TAKEN ON TRUST: the keys below are those that the address gave, now or when it was first"
    " looked at. Compare them with what the log's operator tells you, or give --policy"
)


class Memory(msgspec.Struct):
    """What is remembered of a log: its keys, its last checkpoint, and how far its leaves were read.

    `keys` is "" where a policy says which keys count; `frontier` is of the first `done` leaves.
    """

    origin: str = ""
    keys: str = ""
    size: int = 0
    root: bytes = merkle.EMPTY_ROOT
    done: int = 0
    frontier: list[bytes] = []
    entries: bool = False


@dataclass(slots=True)
class Seen:
    """What was found of a running log; it holds when there are no findings."""

    origin: str = ""
    size: int = 0
    root: bytes = merkle.EMPTY_ROOT
    before: int | None = None
    keys: list[str] = field(default_factory=list)
    on_trust: bool = False
    accepted: Accepted | None = None
    entries: bool = False
    findings: list[str] = field(default_factory=list)


def verify_url(
    url: str,
    *,
    policy: Policy | None = None,
    memory: Path | None = None,
    token: str = "",
    entries: bool = False,
    progress: Callable[[int, int], None] = lambda *_: None,
    transport: httpx.BaseTransport | None = None,
) -> Seen:
    """Check the log at an address; `memory` is the file of what is remembered, if it shall be.

    With `entries` the entries are read, too, and compared with their leaves. Raises
    UnavailableError when the log gives no answer, and ConfigurationError for a file that cannot
    be used.
    """
    known = _recalled(memory)
    seen = Seen(before=known.size if known.origin else None, entries=entries)
    headers = _HEADERS | ({"authorization": f"Bearer {token}"} if token else {})
    with httpx.Client(headers=headers, timeout=_SECONDS, transport=transport) as http:
        look = _Look(_Log(http, _prefix(url)), known, seen, policy, memory)
        try:
            look.run(progress)
        except VerificationError as error:
            seen.findings.append(str(error))
    return seen


def _prefix(url: str) -> str:
    base = url.rstrip("/")
    return base if base.endswith("/log") else f"{base}/log"


def _recalled(path: Path | None) -> Memory:
    if path is None:
        return Memory()
    try:
        return msgspec.json.decode(path.read_bytes(), type=Memory)
    except FileNotFoundError:
        return Memory()
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"{path} is not what an earlier verification has remembered: keep it, and bring back"
            " a copy; without it a log that went back is not found out"
        ) from error


class _Log:
    """The addresses of one log."""

    def __init__(self, http: httpx.Client, prefix: str) -> None:
        self._http, self._prefix = http, prefix

    def note(self, path: str) -> Note:
        return Note.parse(self._get(path, NOTE_BYTES_MAX))

    def keys(self) -> str:
        return self._get("keys", NOTE_BYTES_MAX).decode(errors="replace")

    def hashes(self, one: Tile) -> list[bytes]:
        return tile.decode_hashes(self._get(one.path(), TILE_BYTES_MAX), width=one.width)

    def entries(self, one: Bundle) -> list[bytes]:
        return tile.decode_entries(self._get(one.path(), TILE_BYTES_MAX), width=one.width)

    def _get(self, path: str, bytes_max: int) -> bytes:
        body = b""
        try:
            with self._http.stream("GET", f"{self._prefix}/{path}") as response:
                if response.status_code != 200:
                    raise UnavailableError(
                        f"the log answers {response.status_code} for {path}"
                        + (": give --token-file" if response.status_code == 401 else "")
                    )
                for piece in response.iter_raw():
                    body += piece
                    if len(body) > bytes_max:
                        raise VerificationError(f"the log's answer for {path} is too long")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UnavailableError("the log cannot be reached") from error
        return body


class _Above:
    """Compares the tiles above the leaves with the nodes that the leaves give, as they come.

    Of what was read an earlier time the tree's frontier still tells what it was.
    """

    def __init__(self, log: _Log, grown: Tree) -> None:
        self._log, self._begun = log, grown
        self._rows: dict[int, list[bytes]] = {}

    def take(self, nodes: Iterable[Node]) -> None:
        """Take the next nodes, and compare each tile that they fill."""
        for level, place, digest in nodes:
            tier = level // TILE_HEIGHT
            self._rows.setdefault(tier, []).append(digest)
            if place % TILE_WIDTH == TILE_WIDTH - 1:
                self._compare(Tile(tier, place // TILE_WIDTH))

    def end(self, size: int) -> None:
        """Compare the tiles at the right edge of the tree of `size`."""
        tier = 1
        while count := size >> TILE_HEIGHT * tier:
            if count % TILE_WIDTH:
                self._compare(Tile(tier, count // TILE_WIDTH, count % TILE_WIDTH))
            tier += 1

    def _compare(self, one: Tile) -> None:
        hashes, row = self._log.hashes(one), self._rows.pop(one.tier, [])
        known = one.width - len(row)
        before = merkle.append(Tree(), hashes[:known])[0].frontier
        if hashes[known:] != row or before != self._edge(one.tier, known):
            raise VerificationError(
                f"{one.path()} is not what its leaves give: the log serves a wrong tile, by which"
                " a proof would be wrong"
            )

    def _edge(self, tier: int, known: int) -> tuple[bytes, ...]:
        """Return the roots over what of a tier's last tile was known in the beginning."""
        above = (self._begun.size >> TILE_HEIGHT * (tier + 1)).bit_count()
        return self._begun.frontier[above : above + known.bit_count()]


class _Look:
    def __init__(
        self, log: _Log, known: Memory, seen: Seen, policy: Policy | None, path: Path | None
    ) -> None:
        self._log, self._known, self._seen = log, known, seen
        self._policy, self._path = policy, path
        self._keys = known.keys

    def run(self, progress: Callable[[int, int], None]) -> None:
        # The cosigned one first: it is never newer than the latest that comes after it.
        published, latest = self._log.note("checkpoint"), self._log.note("checkpoint/latest")
        if self._policy is None:
            history = self._trusted_keys()
            signed = [history.open(note).checkpoint for note in (published, latest)]
        else:
            signed = [self._accepted(self._policy, published), _signed(self._policy, latest)]
        newest = max(signed, key=lambda one: one.size)
        self._same_log(newest)
        wanted: dict[int, set[bytes]] = {}
        for one in signed:
            wanted.setdefault(one.size, set()).add(one.root)
        if self._known.origin:
            wanted.setdefault(self._known.size, set()).add(self._known.root)
        self._grow(newest, wanted, progress)
        self._seen.root = newest.root

    def _accepted(self, policy: Policy, note: Note) -> Checkpoint:
        """Return a checkpoint that the log's key has signed, and the policy's quorum."""
        self._seen.accepted = policy.accept(note)
        self._seen.keys = [one.format() for one in self._seen.accepted.log_keys]
        return self._seen.accepted.checkpoint

    def _trusted_keys(self) -> KeyHistory:
        """Return the keys that the address gives; what is remembered of them stays as it was."""
        text = self._log.keys()
        history = KeyHistory.parse(text)
        if not text.startswith(self._known.keys):
            raise VerificationError(
                "the log's keys are not those that are remembered: it is another log, or somebody"
                " else signs for it"
            )
        self._keys, self._seen.on_trust = text, True
        self._seen.keys = [key.format() for one in history.periods for key in one.keys]
        return history

    def _same_log(self, newest: Checkpoint) -> None:
        self._seen.origin, self._seen.size = newest.origin, newest.size
        if not self._known.origin:
            return
        if newest.origin != self._known.origin:
            raise VerificationError("the log has another name than the one that is remembered")
        if newest.size < self._known.size:
            raise VerificationError(
                f"the log went back: it has signed {newest.size} entries, and"
                f" {self._known.size} are remembered"
            )

    def _grow(
        self,
        newest: Checkpoint,
        wanted: dict[int, set[bytes]],
        progress: Callable[[int, int], None],
    ) -> None:
        """Grow the tree up to the newest checkpoint; it has to have each of the wanted roots."""
        grown = self._begun(wanted, newest.size)
        above = _Above(self._log, grown)
        for n, one in enumerate(tile.bundles(newest.size, since=grown.size), 1):
            hashes = self._log.hashes(Tile(0, one.n, one.width))
            if self._seen.entries:
                self._compare_entries(one, hashes)
            first = one.n * TILE_WIDTH
            full, start = grown, 0
            for size in sorted(size for size in wanted if first < size <= first + one.width):
                full, _ = merkle.append(full, hashes[start : size - first])
                start = size - first
                self._compare(size, wanted.pop(size), full.root())
            if one.width == TILE_WIDTH:
                grown, nodes = merkle.append(grown, hashes)
                above.take(nodes)
                if not n % _TILES_BETWEEN:
                    self._remember(grown)
            progress(first + one.width, newest.size)
        above.end(newest.size)
        for size, roots in wanted.items():
            # What ends before the first tile that was read is a full tile: the frontier has it.
            if size in (0, grown.size):
                self._compare(size, roots, Tree(size, grown.frontier if size else ()).root())
        self._remember(grown, newest)

    def _begun(self, wanted: dict[int, set[bytes]], size: int) -> Tree:
        """Return what was read before, if all that has to be compared is still ahead."""
        known = self._known
        is_compared = known.size < known.done and wanted.get(known.size) == {known.root}
        ahead = all(one >= known.done or (one == known.size and is_compared) for one in wanted)
        if known.done > size or not ahead or (self._seen.entries and not known.entries):
            return Tree()
        return Tree(known.done, tuple(known.frontier))

    def _compare(self, size: int, roots: set[bytes], root: bytes) -> None:
        if roots == {root}:
            return
        raise VerificationError(
            f"SPLIT VIEW: the first {size} entries are not those of a checkpoint that the log has"
            " signed; keep both checkpoints, they are evidence"
            if len(roots) > 1 or size == self._known.size
            else f"the hashes that the log serves do not have the root signed for {size} entries"
        )

    def _compare_entries(self, one: Bundle, hashes: list[bytes]) -> None:
        for at, data in enumerate(self._log.entries(one)):
            if merkle.leaf_hash(data) != hashes[at]:
                raise VerificationError(
                    f"entry {one.n * TILE_WIDTH + at} is not what its leaf commits to"
                )
            Entry.decode(data)

    def _remember(self, grown: Tree, newest: Checkpoint | None = None) -> None:
        """Write down how far it is; the checkpoint only once its root was found."""
        if self._path is None:
            return
        known = self._known
        now = Memory(
            newest.origin if newest else known.origin,
            self._keys if newest or known.origin else "",
            newest.size if newest else known.size,
            newest.root if newest else known.root,
            grown.size,
            list(grown.frontier),
            self._seen.entries,
        )
        durable_file.replace(self._path, msgspec.json.encode(now), mode=0o600)


def _signed(policy: Policy, note: Note) -> Checkpoint:
    """Return a checkpoint that the log's key has signed, whether it is cosigned or not."""
    return SignedCheckpoint.open(note, [verifier(one.key) for one in policy.logs]).checkpoint


def lines(seen: Seen) -> Iterator[str]:
    """Yield what to say to a person."""
    if seen.on_trust:
        yield ON_TRUST
    yield from (f"key: {key}" for key in seen.keys)
    yield from (f"the log: {what}" for what in seen.findings)
    if seen.findings:
        yield f"DOES NOT HOLD: {len(seen.findings)} findings"
        return
    yield f"holds: {seen.size} entries, root {seen.root.hex()}"
    what = "entries, hashes" if seen.entries else "hashes"
    then = f", consistent with {seen.before} entries before" if seen.before is not None else ""
    yield f"checked: {what}, signatures{then}"
    if seen.accepted is not None:
        names = ", ".join(one.name for one in seen.accepted.witnesses) or "nobody else"
        yield f"witnessed: the first {seen.accepted.checkpoint.size} entries, by {names}"
    else:
        yield "not checked: witnesses (no --policy was given)"
    if seen.before is None:
        yield "not checked: whether this is the history that was shown before (first look)"


def machine(seen: Seen) -> dict[str, Any]:
    """Return what to say to a machine."""
    accepted = seen.accepted
    return {
        "whole": not seen.findings,
        "origin": seen.origin,
        "size": seen.size,
        "root": seen.root.hex(),
        "size_before": seen.before,
        "keys": seen.keys,
        "on_trust": seen.on_trust,
        "witnessed_size": accepted.checkpoint.size if accepted else None,
        "witnesses": [one._asdict() for one in accepted.witnesses] if accepted else [],
        "findings": [{"entry": None, "what": what} for what in seen.findings],
    }
