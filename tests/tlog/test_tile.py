"""Tiles and bundles: one path each, the tiles that a size has, and content without a byte too many."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caretrail.errors import VerificationError
from caretrail.limits import TREE_SIZE_MAX
from caretrail.tlog.tile import (
    Bundle,
    Tile,
    bundles,
    decode_entries,
    decode_hashes,
    encode_entries,
    parse,
    tiles,
)
from caretrail.tlog.tree import Tree, append, leaf_hash

TESSERA = Path(__file__).parents[3] / "shared" / "vectors" / "merkle" / "tessera-testdata-log.json"


@pytest.mark.skipif(not TESSERA.exists(), reason="needs ../shared/vectors/merkle")
def test_the_states_of_another_implementations_log_are_read() -> None:
    states = json.loads(TESSERA.read_text())["states"]
    assert len(states) == 8
    for state in states:
        size = state["size"]
        assert [one.path() for one in tiles(size)] == [state["tile_path"]]
        assert [one.path() for one in bundles(size)] == [state["entry_bundle_path"]]
        assert parse(state["tile_path"]) == Tile(0, 0, size)
        assert parse(state["entry_bundle_path"]) == Bundle(0, size)
        bundle = bytes.fromhex(state["entry_bundle_hex"])
        entries = decode_entries(bundle, width=size)
        assert encode_entries(entries) == bundle
        content = bytes.fromhex("".join(state["tile_hex"]))
        assert decode_hashes(content, width=size) == [leaf_hash(one) for one in entries]


def test_paths_are_those_of_the_specification() -> None:
    assert Tile(0, 1_234_067).path() == "tile/0/x001/x234/067"
    assert Tile(1, 0, 17).path() == "tile/1/000.p/17"
    assert Bundle(273, 112).path() == "tile/entries/273.p/112"
    assert Bundle(1_000).path() == "tile/entries/x001/000"


def test_a_tree_has_the_tiles_that_the_specification_says() -> None:
    found = list(tiles(70_000))
    assert found[:273] == [Tile(0, n) for n in range(273)]
    assert found[273:] == [Tile(0, 273, 112), Tile(1, 0), Tile(1, 1, 17), Tile(2, 0, 1)]
    assert list(tiles(256)) == [Tile(0, 0), Tile(1, 0, 1)]
    assert list(tiles(0)) == []
    assert [one.width for one in bundles(70_000)] == [256] * 273 + [112]


@given(since=st.integers(0, 3_000), more=st.integers(0, 2_000))
def test_growing_adds_just_the_tiles_that_were_not_there(since: int, more: int) -> None:
    size = since + more
    assert set(tiles(size, since=since)) == set(tiles(size)) - set(tiles(since))
    assert set(bundles(size, since=since)) == set(bundles(size)) - set(bundles(since))
    assert all(one.within(size) for one in (*tiles(size), *bundles(size)))


@given(
    tier=st.integers(0, 7),
    n=st.integers(0, 2**55),
    width=st.integers(1, 256),
)
def test_what_a_path_names_is_written_as_that_path(tier: int, n: int, width: int) -> None:
    for one in (Tile(tier, n, width), Bundle(n, width)):
        if one.within(TREE_SIZE_MAX):
            assert parse(one.path()) == one
        else:
            with pytest.raises(VerificationError):
                parse(one.path())


@pytest.mark.parametrize(
    "path",
    [
        "", "tile", "tile/0", "tile/0/", "tile/0/0", "tile/0/00", "tile/0/0000", "tile/0/x000/000",
        "tile/0/001/000", "tile/0/x001/x000", "tile/0/x01/000", "tile/00/000", "tile/-1/000",
        "tile/8/000", "tile/63/000", "tile/64/000", "tile/0/000.p/0", "tile/0/000.p/256",
        "tile/0/000.p/01", "tile/0/000.p/", "tile/0/000.p", "tile/0/000/", "/tile/0/000",
        "tile/entry/000", "tile/entries/0", "tile/0/000\n", "tile/0/٠٠٠", "tile/0/000.p/١",
        "tile/0/../0/000", "tile/0/X001/000", "tile/7/x999/x999/x999/x999/x999/x999/999",
        "tile/0/000?", "tile/0//000", "checkpoint",
    ],
)  # fmt: skip
def test_other_paths_name_nothing(path: str) -> None:
    with pytest.raises(VerificationError):
        parse(path)


@given(entries=st.lists(st.binary(max_size=40), min_size=1, max_size=256))
def test_a_bundle_gives_back_its_entries(entries: list[bytes]) -> None:
    data = encode_entries(entries)
    assert decode_entries(data, width=len(entries)) == entries
    for wrong in (data[:-1], data + b"\0", data + b"\0\1", data[1:]):
        with pytest.raises(VerificationError):
            decode_entries(wrong, width=len(entries))
    with pytest.raises(VerificationError):
        decode_entries(data, width=len(entries) + 1)


def test_the_longest_entry_has_a_length_of_sixteen_bits() -> None:
    longest = b"e" * 65_535
    data = encode_entries([longest, b""])
    assert data[:2] == b"\xff\xff"
    assert decode_entries(data, width=2) == [longest, b""]
    with pytest.raises(AssertionError):
        encode_entries([longest + b"e"])


def test_a_tile_of_another_width_is_refused() -> None:
    _, nodes = append(Tree(), [leaf_hash(b"%d" % n) for n in range(256)])
    assert decode_hashes(nodes[0].hash, width=1) == [nodes[0].hash]
    for width in (0, 2, 256):
        with pytest.raises(VerificationError):
            decode_hashes(nodes[0].hash, width=width)
