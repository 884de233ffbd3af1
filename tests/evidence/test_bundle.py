"""The maker of bundles: one spelling, and no bundle that a verifier would refuse."""

from __future__ import annotations

import io
import json
from hashlib import sha256
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caretrail.errors import TooLargeError, VerificationError
from caretrail.evidence import ATTACHMENTS, attachments, verify, write_archive
from caretrail.limits import EVIDENCE_BYTES_MAX, EVIDENCE_MEMBERS_MAX
from caretrail.tlog import canonical_json, evidence
from caretrail.tlog.evidence import Disclosed, Range, Redacted, Singles
from tests.evidence.maker import END, START, World, archive, canonical, sides_of

VECTORS = Path(__file__).parents[3] / "shared" / "vectors" / "merkle" / "jcs"
VALUES = st.recursive(
    st.none() | st.integers(0, canonical_json.INTEGER_MAX) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(max_codepoint=127)), inner, max_size=4)
    ),
)


@given(VALUES)
def test_canonical_json_is_read_back_and_has_one_spelling(value: Any) -> None:
    spelled = canonical_json.encode(value)
    assert json.loads(spelled) == value
    assert canonical_json.encode(json.loads(spelled)) == spelled == canonical(value)


def test_canonical_json_is_that_of_the_standard() -> None:
    value = {"b": [1, "ö\n\x7f\u2028", None], "a": {"z": 0, "B": "\u001f\\"}}
    spelled = '{"a":{"B":"\\u001f\\\\","z":0},"b":[1,"ö\\n\x7f\u2028",null]}'
    assert canonical_json.encode(value) == spelled.encode()


@pytest.mark.skipif(not VECTORS.exists(), reason="needs ../shared/vectors/merkle/jcs")
def test_canonical_json_is_spelled_as_others_spell_it() -> None:
    # The one vector without fractions, truth values and names beyond ASCII: we need none of them.
    spelled = (VECTORS / "structures.output.json").read_bytes()
    assert canonical_json.encode(json.loads(spelled)) == spelled


@pytest.mark.parametrize("value", [1.5, True, -1, 2**53, {"ä": 1}, {1, 2}, ["\ud800"]])
def test_canonical_json_refuses_what_readers_may_read_otherwise(value: Any) -> None:
    with pytest.raises(VerificationError):
        canonical_json.encode(value)


def test_rows_are_one_line_each() -> None:
    assert canonical_json.lines([{"b": 1, "a": "\n"}, 2]) == b'{"a":"\\n","b":1}\n2\n'
    assert canonical_json.lines([]) == b""


def test_a_bundle_has_its_manifest_first_and_lists_all_the_rest() -> None:
    world = World()
    made = evidence.members(world.evidence(timestamps={"b.tsr": b"2", "a.tsr": b"1"}), world.sign)
    names = [name for name, _ in made]
    assert names[:2] == ["manifest.json", "manifest.note"]
    assert names[-5:-3] == ["timestamps/a.tsr", "timestamps/b.tsr"]
    assert sorted(names[-3:]) == sorted(ATTACHMENTS)
    manifest = json.loads(made[0][1])
    assert manifest["files"] == {name: sha256(body).hexdigest() for name, body in made[2:]}
    assert (manifest["start"], manifest["end"], manifest["size"]) == (START, END, 45)


def test_the_order_of_the_parts_does_not_matter() -> None:
    world = World()
    one = world.evidence()
    other = one._replace(disclosed=one.disclosed[::-1], redacted=one.redacted[::-1])
    assert evidence.members(one, world.sign) == evidence.members(other, world.sign)


def test_a_range_of_one_entry_at_the_start_is_a_range() -> None:
    world = World()
    proof = Range(0, 1, *sides_of(0, 1, world.leaves()))
    parts = {"proof": proof, "entries": world.entries[:1], "disclosed": [], "redacted": []}
    made = dict(evidence.members(world.evidence(**parts), world.sign))
    assert json.loads(made["manifest.json"])["end"] == 1
    checked = verify.Check(archive(made))
    assert checked.verdicts == {0: "not-disclosed"}
    assert checked.holds()


def test_single_proofs_are_listed_in_the_order_of_the_log() -> None:
    world = World()
    made = evidence.members(world.singles([3, 7, 44])._replace(attachments={}), world.sign)
    manifest = json.loads(made[0][1])
    assert manifest["start"] is None
    assert manifest["end"] is None
    assert dict(made)["indexes.json"] == b"[3,7,44]"
    assert [name for name, _ in made if name.startswith("proof/")] == [
        f"proof/{index}.tlog-proof" for index in (3, 7, 44)
    ]


@pytest.mark.parametrize(
    "parts",
    [
        {"entries": []},
        {"size": END - 1},
        {"proof": Singles({}), "entries": []},
        {"disclosed": [Disclosed(START - 1, b"", bytes(32))], "redacted": []},
        {"disclosed": [Disclosed(START, b"", bytes(32))] * 2, "redacted": []},
        {"redacted": [Redacted(7, 8)]},
        {"entries": [bytes(65_536)] * (END - START)},
        {"selection": {"Query": ""}},
        {"timestamps": {"../a.tsr": b""}},
        {"attachments": {"verify.sh": b""}},
    ],
    ids=lambda parts: ", ".join(parts),
)
def test_what_a_verifier_would_refuse_is_not_made(parts: dict[str, Any]) -> None:
    world = World()
    with pytest.raises(VerificationError):
        evidence.members(world.evidence(**parts), world.sign)


def test_a_bundle_that_is_too_large_is_not_made() -> None:
    world = World()
    many = range(EVIDENCE_MEMBERS_MAX)
    singles = {
        "proof": Singles(dict.fromkeys(many, b"")),
        "entries": [b""] * len(many),
        "size": len(many),
        "disclosed": [],
        "redacted": [],
    }
    with pytest.raises(TooLargeError, match="prove a range"):
        evidence.members(world.evidence(**singles), world.sign)

    class Huge(bytes):
        """An attachment that says it is large."""

        def __len__(self) -> int:
            return EVIDENCE_BYTES_MAX

    with pytest.raises(TooLargeError, match="smaller range"):
        evidence.members(world.evidence(attachments={"README.txt": Huge()}), world.sign)


def test_one_bundle_is_one_archive_and_everybody_can_open_it() -> None:
    world = World()
    made = world.members()
    assert archive(made) == archive(made)
    target = io.BytesIO()
    write_archive(made.items(), target)
    with ZipFile(target) as opened:
        assert opened.testzip() is None
        assert {name: opened.read(name) for name in opened.namelist()} == made


def test_the_verifiers_of_a_bundle_are_those_of_the_package() -> None:
    assert attachments().keys() == set(ATTACHMENTS)
    source = Path(verify.__file__).read_bytes()
    assert World().members()["verify.py"] == source == attachments()["verify.py"]
