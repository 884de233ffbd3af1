"""A running log by HTTP: what it shows is checked, remembered, and compared the next time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import httpx
import pytest

from caretrail.errors import ConfigurationError, UnavailableError
from caretrail.tlog import tile, tree
from caretrail.tlog.checkpoint import Checkpoint, sign
from caretrail.tlog.cosignature import Cosigner
from caretrail.tlog.entry import Entry
from caretrail.tlog.key_history import KeyHistory
from caretrail.tlog.keys import Ed25519PrivateKey
from caretrail.tlog.note import NoteSigner
from caretrail.tlog.policy import Policy
from caretrail.tlog.tile import Bundle, Tile
from caretrail.tlog.tree import Tree
from caretrail.verification import remote
from caretrail.verification.remote import Seen, verify_url

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ORIGIN = "caretrail/of-a-test"
URL = "http://log.test"


def entry(number: int, content: bytes = b"") -> bytes:
    bound = tree.leaf_hash(b"%d" % number + content)
    return Entry(0, 0, 0, bytes(16), bytes(16), number, bytes(16), None, bound, ()).encode()


def answer(content: bytes, status: int = 200) -> httpx.Response:
    """Return an answer that has to be read, as one from a socket."""
    return httpx.Response(status, stream=httpx.ByteStream(content))


class World:
    """A log that serves what it says it has; each attribute can be made to lie."""

    def __init__(self, size: int, *, origin: str = ORIGIN, key: int = 1) -> None:
        self.entries = [entry(n) for n in range(size)]
        self.signer = NoteSigner(origin, Ed25519PrivateKey(bytes([key]) * 32))
        self.witness = Cosigner("w.test", Ed25519PrivateKey(b"w" * 32))
        self.keys = KeyHistory.begin(self.signer.key).format()
        self.origin = origin
        self.asked: list[str] = []
        self.signed: bytes | None = None
        self.status = 200

    def root(self, size: int) -> bytes:
        leaves = [tree.leaf_hash(one) for one in self.entries[:size]]
        return tree.append(Tree(), leaves)[0].root()

    def note(self, size: int, *, cosigned: bool = False) -> bytes:
        note = sign(Checkpoint(self.origin, size, self.root(size)), [self.signer])
        return (
            note.add([self.witness.cosign(note.text, time=1_780_000_000)]) if cosigned else note
        ).format()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/log/")
        self.asked.append(path)
        size = len(self.entries)
        if path == "checkpoint":
            return answer(self.signed or self.note(size, cosigned=True), self.status)
        if path == "checkpoint/latest":
            return answer(self.note(size))
        if path == "keys":
            return answer(self.keys.encode())
        named = tile.parse(path)
        if isinstance(named, Bundle):
            part = self.entries[named.n * 256 : named.n * 256 + named.width]
            return answer(tile.encode_entries(part))
        return answer(b"".join(self.hashes(named)))

    def hashes(self, one: Tile) -> list[bytes]:
        """Return the hashes of a tile: each is the root over its leaves (RFC 9162, 2.1.1)."""
        width = 256**one.tier
        places = range(one.n * 256, one.n * 256 + one.width)
        spans = [self.entries[place * width : (place + 1) * width] for place in places]
        return [tree.append(Tree(), map(tree.leaf_hash, span))[0].root() for span in spans]

    def policy(self) -> Policy:
        lines = f"log {self.signer.key.format()}\nwitness w {self.witness.key.format()}\nquorum w\n"
        return Policy.parse(lines.encode())


def look(world: World, memory: Path | None = None, **rest: object) -> Seen:
    transport = httpx.MockTransport(world)
    return verify_url(URL, memory=memory, transport=transport, **rest)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 600])
def test_a_log_that_tells_the_truth_holds(size: int, tmp_path: Path) -> None:
    world = World(size)
    seen = look(world, tmp_path / "state", policy=world.policy(), entries=True)
    assert (seen.findings, seen.size, seen.root) == ([], size, world.root(size))
    assert seen.accepted is not None
    assert not seen.on_trust
    assert any("witnessed: " in line for line in remote.lines(seen))


def test_without_a_policy_the_keys_are_taken_on_trust_and_said_aloud() -> None:
    first, second, *_ = remote.lines(look(World(10)))
    assert first.startswith("TAKEN ON TRUST")
    assert second.startswith(f"key: {ORIGIN}+")


def test_what_was_read_before_is_not_read_again(tmp_path: Path) -> None:
    world = World(600)
    look(world, tmp_path / "state")
    world.entries += [entry(n) for n in range(600, 900)]
    world.asked.clear()
    seen = look(world, tmp_path / "state")
    assert (seen.findings, seen.before) == ([], 600)
    assert "tile/0/000" not in world.asked
    assert "tile/0/002" in world.asked


def went_back(world: World) -> None:
    world.entries = world.entries[:500]


def changed_early(world: World) -> None:
    world.entries[3] = entry(3, b"another")
    world.entries.append(entry(600))


def changed_late(world: World) -> None:
    world.entries[599] = entry(599, b"another")


def renamed(world: World) -> None:
    world.__init__(600, origin="caretrail/another")  # type: ignore[misc]


def new_key(world: World) -> None:
    world.__init__(600, key=2)  # type: ignore[misc]


def two_views(world: World) -> None:
    """The checkpoint of the witnesses is of another history than the latest."""
    other = World(600)
    other.entries[3] = entry(3, b"another")
    world.signed = other.note(600, cosigned=True)


LIES: dict[str, tuple[Callable[[World], None], str]] = {
    "it went back": (went_back, "the log went back: it has signed 500 entries, and 600"),
    "an early entry was changed": (changed_early, "do not have the root"),
    "the last entry was changed": (changed_late, "SPLIT VIEW"),
    "it has another name": (renamed, "not those that are remembered"),
    "it has another key": (new_key, "not those that are remembered"),
    "it shows two checkpoints of one size": (two_views, "SPLIT VIEW"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_lie_is_found_against_what_is_remembered_when(name: str, tmp_path: Path) -> None:
    lie, said = LIES[name]
    world = World(600)
    look(world, tmp_path / "state")
    before = (tmp_path / "state").read_bytes()
    lie(world)
    seen = look(world, tmp_path / "state")
    assert any(said in what for what in seen.findings), seen.findings
    assert (tmp_path / "state").read_bytes() == before
    assert not remote.machine(seen)["whole"]
    assert list(remote.lines(seen))[-1].startswith("DOES NOT HOLD")


def test_a_policy_refuses_another_key_and_a_missing_quorum() -> None:
    policy = World(10).policy()
    assert look(World(10, key=2), policy=policy).findings
    world = World(10)
    world.signed = world.note(10)
    assert "too few witnesses" in look(world, policy=policy).findings[0]


def test_an_entry_that_is_not_its_leafs_is_named() -> None:
    world = World(300)

    class Lying(World):
        def __call__(self, request: httpx.Request) -> httpx.Response:
            if "entries/001" in request.url.path:
                return answer(tile.encode_entries([entry(1)] * 44))
            return world(request)

    assert "entry 256 is not what its leaf" in look(Lying(300), entries=True).findings[0]
    assert look(Lying(300)).findings == []


class Upper(World):
    """A log with a wrong hash in one tile above the leaves."""

    wrong = Tile(9, 0), 0  # There is none.

    def hashes(self, one: Tile) -> list[bytes]:
        found, ((tier, n, _), at) = super().hashes(one), self.wrong
        if (one.tier, one.n) == (tier, n):
            found[at] = tree.leaf_hash(b"another")
        return found


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ((Tile(1, 0), 0), "tile/1/000"),
        ((Tile(1, 0), 255), "tile/1/000"),
        ((Tile(1, 1), 2), "tile/1/001.p/3"),
        ((Tile(2, 0), 0), "tile/2/000.p/1"),
    ],
)
def test_a_wrong_tile_above_the_leaves_is_named(
    wrong: tuple[Tile, int], path: str, tmp_path: Path
) -> None:
    world = Upper(65_536 + 3 * 256 + 9)
    assert look(world, tmp_path / "state").findings == []
    world.wrong = wrong
    (said,) = look(world).findings
    assert said.startswith(f"{path} is not what its leaves give")
    # Who has read the leaves before still sees the tiles at the edge, as far as they are known.
    world.entries += [entry(n) for n in range(len(world.entries), len(world.entries) + 256)]
    again = look(world, tmp_path / "state").findings
    assert bool(again) is (wrong[0] != Tile(1, 0))


def test_tiles_above_the_leaves_are_compared_over_several_looks(tmp_path: Path) -> None:
    world = Upper(0)
    for size in (1, 300, 512, 700, 255 * 256, 256 * 256, 256 * 256 + 1, 257 * 256):
        world.entries += [entry(n) for n in range(len(world.entries), size)]
        assert look(world, tmp_path / "state").findings == [], size
    assert {"tile/1/000", "tile/2/000.p/1", "tile/1/001.p/1"} <= {*world.asked}


def test_a_log_that_gives_no_answer_is_no_finding() -> None:
    world = World(3)
    world.status = 401
    with pytest.raises(UnavailableError, match="--token-file"):
        look(world)


def test_an_answer_that_is_too_long_is_refused() -> None:
    world = World(3)
    world.signed = b"x" * (1024 * 1024)
    assert "too long" in look(world).findings[0]


def test_a_damaged_memory_is_no_first_look(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"{")
    with pytest.raises(ConfigurationError, match="remembered"):
        look(World(3), tmp_path / "state")


def test_the_machines_report_is_json() -> None:
    world = World(3)
    report = json.loads(json.dumps(remote.machine(look(world, policy=world.policy()))))
    assert (report["size"], report["witnessed_size"], report["on_trust"]) == (3, 3, False)
