"""What forgers, careless exporters and bad disks do to bundles, and what each has to be called.

A row is an attack and all the codes that both verifiers must give it, no more and no fewer. Most
attackers here hold the log's key and sign the manifest anew; who does not is found by
`altered-file` already.
"""

from __future__ import annotations

import io
import json
import struct
import warnings
import zlib
from base64 import b64decode, b64encode
from hashlib import sha256
from hmac import digest
from typing import TYPE_CHECKING, Final, NamedTuple
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from caretrail.tlog.entry import commitment
from caretrail.tlog.evidence import LogKey, Range
from tests.evidence.maker import (
    END,
    ERASED,
    ERASER,
    ORIGIN,
    START,
    START_SECONDS,
    Members,
    Signer,
    World,
    archive,
    canonical,
    redaction,
    sides_of,
)
from tests.evidence.stamps import stamp

if TYPE_CHECKING:
    from collections.abc import Callable


class Attack(NamedTuple):
    """An archive, and the policy of the auditor where he has one."""

    bundle: bytes
    policy: bytes | None = None


ATTACKS: Final[dict[str, tuple[Callable[[World], Attack | bytes], set[str]]]] = {}


def called(*codes: str) -> Callable[[Callable[[World], Attack | bytes]], None]:
    """Enter an attack into the table, under its name."""

    def enter(forger: Callable[[World], Attack | bytes]) -> None:
        ATTACKS[forger.__name__.strip("_").replace("_", " ")] = forger, set(codes)

    return enter


def _flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def _change(members: Members, name: str, old: bytes, new: bytes) -> Members:
    assert old in members[name]
    return {**members, name: members[name].replace(old, new, 1)}


def _lines(members: Members, name: str) -> list[bytes]:
    return members[name].splitlines(keepends=True)


def _row(data: bytes, index: int) -> bytes:
    (row,) = (line for line in data.splitlines(keepends=True) if b'"index":%d' % index in line)
    return row


def _without(members: Members, index: int) -> Members:
    """Leave an event and its salt out."""
    changed = dict(members)
    for name in ("events.ndjson", "salts.ndjson"):
        changed[name] = members[name].replace(_row(members[name], index), b"")
    return changed


# --- One byte is flipped, by whoever has the file -------------------------------------------------


@called("altered-file", "content-altered")
def _a_byte_of_a_content(world: World) -> bytes:
    return archive(_change(world.members(), "events.ndjson", b"AuditEvent", b"AuditEvenT"))


@called("altered-file", "content-altered")
def _a_byte_of_a_salt(world: World) -> bytes:
    members = world.members()
    at = members["salts.ndjson"].index(b'"salt":"') + 8
    digit = members["salts.ndjson"][at : at + 1]
    other = b"0" if digit != b"0" else b"1"
    salts = members["salts.ndjson"]
    return archive({**members, "salts.ndjson": salts[:at] + other + salts[at + 1 :]})


@called("altered-file", "tree-altered")
def _a_byte_of_a_leaf(world: World) -> bytes:
    members = world.members()
    return archive({**members, "leaves.bin": _flip(members["leaves.bin"], 2 + 70)})


@called("altered-file", "tree-altered")
def _a_byte_of_a_proof(world: World) -> bytes:
    members = world.members()
    proof = json.loads(members["proof/range.json"])
    one = proof["left"][0]
    proof["left"][0] = ("A" if one[0] != "A" else "B") + one[1:]
    return archive({**members, "proof/range.json": canonical(proof)})


@called("altered-file", "bad-signature", "tree-altered", "no-quorum")
def _a_byte_of_the_root(world: World) -> bytes:
    members = world.members()
    root = members["checkpoint"].split(b"\n")[2]
    other = (b"A" if root[:1] != b"A" else b"B") + root[1:]
    return archive(_change(members, "checkpoint", root, other))


@called("altered-file")
def _a_byte_of_the_manifest(world: World) -> bytes:
    return archive(_change(world.members(), "manifest.json", b"officer", b"Officer"))


@called("altered-file", "bad-policy")
def _a_byte_of_the_policy(world: World) -> bytes:
    return archive(_change(world.members(), "policy", b"witness w0", b"witneSs w0"))


@called("bad-signature")
def _a_byte_of_the_manifests_signature(world: World) -> bytes:
    members = world.members()
    text = members["manifest.note"].decode().partition("\n\n")[0] + "\n"
    note = f"{text}\n{world.key.spelled(bytes(64))}".encode()
    return archive({**members, "manifest.note": note})


@called("malformed")
def _a_byte_of_the_archive_that_is_not_mended(world: World) -> bytes:
    whole = archive(world.members())
    return _flip(whole, whole.index(b"leaves.bin") + 200)


# --- Events come and go ---------------------------------------------------------------------------


@called("kept-back")
def _a_matching_event_is_left_out(world: World) -> bytes:
    return world.resigned(_without(world.members(), 14))


@called("salt-missing")
def _an_event_without_its_salt(world: World) -> bytes:
    members = world.members()
    salts = members["salts.ndjson"]
    return world.resigned({**members, "salts.ndjson": salts.replace(_row(salts, 14), b"")})


@called("malformed")
def _a_salt_without_its_event(world: World) -> bytes:
    members = world.members()
    events = members["events.ndjson"]
    return world.resigned({**members, "events.ndjson": events.replace(_row(events, 14), b"")})


@called("wrong-order")
def _two_lines_are_swapped(world: World) -> bytes:
    members = world.members()
    first, second, *rest = _lines(members, "events.ndjson")
    return world.resigned({**members, "events.ndjson": b"".join([second, first, *rest])})


@called("content-altered")
def _two_contents_are_swapped(world: World) -> bytes:
    members = world.members()
    events = members["events.ndjson"]
    swapped = events.replace(b'"index":14', b'"index":x').replace(b'"index":18', b'"index":14')
    rows = swapped.replace(b'"index":x', b'"index":18').splitlines(keepends=True)
    rows.sort(key=lambda row: json.loads(row)["index"])
    return world.resigned({**members, "events.ndjson": b"".join(rows)})


@called("tree-altered")
def _two_entries_are_swapped(world: World) -> bytes:
    world_members = world.members()
    entries = world.entries[START:END]
    entries[1], entries[5] = entries[5], entries[1]
    leaves = b"".join(len(one).to_bytes(2) + one for one in entries)
    content = {"events.ndjson": b"", "salts.ndjson": b"", "redactions.ndjson": b""}
    return world.resigned(
        {**world_members, **content, "leaves.bin": leaves, "subjects.ndjson": b""}
    )


@called("tree-altered")
def _an_entry_is_replaced_and_its_content_with_it(world: World) -> bytes:
    world.contents[14] = b'{"resourceType":"AuditEvent","text":"nothing happened"}'
    checkpoint = world.checkpoint()
    world.entries[14] = world.entry(14, world.contents[14]).encode()
    proof = Range(START, END, *sides_of(START, END, world.leaves()))
    return world.resigned(world.members(world.evidence(proof=proof, checkpoint=checkpoint)))


@called("tree-altered")
def _an_entry_is_inserted(world: World) -> bytes:
    members = world.members()
    entry = world.entry(14, world.contents[14], event=bytes(16)).encode()
    leaves = members["leaves.bin"] + len(entry).to_bytes(2) + entry
    return world.resigned({**members, "leaves.bin": leaves})


@called("tree-altered")
def _an_entry_is_put_in_another_ones_place(world: World) -> bytes:
    evidence = world.evidence()
    entries = [*evidence.entries]
    entries[20] = entries[21]
    return world.resigned(world.members(evidence._replace(entries=entries)))


@called("cut-off")
def _the_last_entry_is_cut_off(world: World) -> bytes:
    members = world.members()
    return world.resigned({**members, "leaves.bin": members["leaves.bin"][:-128]})


@called("cut-off")
def _an_entry_is_cut_in_the_middle(world: World) -> bytes:
    members = world.members()
    return world.resigned({**members, "leaves.bin": members["leaves.bin"][:-1]})


@called("cut-off")
def _a_line_is_cut_in_the_middle(world: World) -> bytes:
    members = world.members()
    return world.resigned({**members, "events.ndjson": members["events.ndjson"][:-9]})


@called("tree-altered")
def _the_range_says_less_than_it_covers(world: World) -> bytes:
    members = world.members()
    proof = json.loads(members["proof/range.json"]) | {"end": END - 1}
    changed = {**members, "proof/range.json": canonical(proof)}
    return world.resigned(changed, end=END - 1)


@called("mismatch")
def _the_proof_is_of_another_range(world: World) -> bytes:
    members = world.members()
    proof = json.loads(members["proof/range.json"]) | {"end": END - 1}
    return world.resigned({**members, "proof/range.json": canonical(proof)})


@called("duplicate-index")
def _an_event_is_there_twice(world: World) -> bytes:
    members = world.members()
    rows = _lines(members, "events.ndjson")
    return world.resigned({**members, "events.ndjson": b"".join([*rows[:2], *rows[1:]])})


@called("not-covered")
def _an_event_outside_of_the_range(world: World) -> bytes:
    members = world.members()
    row = canonical({"index": 41, "content": world.contents[41].decode()}) + b"\n"
    salt = canonical({"index": 41, "salt": world.salts[41].hex()}) + b"\n"
    more = {"events.ndjson": row, "salts.ndjson": salt}
    return world.resigned({**members, **{name: members[name] + more[name] for name in more}})


# --- Redactions -----------------------------------------------------------------------------------


@called("kept-back")
def _a_redaction_is_not_mentioned(world: World) -> bytes:
    members = world.members()
    return world.resigned({**members, "redactions.ndjson": b""})


@called("redaction-unproved")
def _a_redaction_without_the_entry_that_tells_of_it(world: World) -> bytes:
    return world.resigned(_without(world.members(), ERASER))


@called("redaction-unproved")
def _a_redaction_that_tells_of_another_entry(world: World) -> bytes:
    members = _without(world.members(), 14)
    rows = [canonical({"by": ERASER, "index": n}) + b"\n" for n in sorted([*ERASED, 14])]
    return world.resigned({**members, "redactions.ndjson": b"".join(rows)})


@called("redaction-unproved")
def _a_redaction_by_an_event_of_somebody_else(world: World) -> bytes:
    world.contents[38] = redaction(("caretrail-entry", "14"))
    world.entries[38] = world.entry(38, world.contents[38]).encode()
    members = _without(world.members(world.evidence()), 14)
    row = canonical({"by": 38, "index": 14}) + b"\n"
    return world.resigned({**members, "redactions.ndjson": members["redactions.ndjson"] + row})


def _by(world: World, content: bytes, **other: int) -> bytes:
    """Let the log's own event be another one."""
    world.contents[ERASER] = content
    world.entries[ERASER] = world.entry(ERASER, content, **other).encode()
    return world.resigned(world.members())


@called("redaction-unproved")
def _a_redaction_that_only_reads(world: World) -> bytes:
    details = ("caretrail-entry", "6"), ("caretrail-entries", "9-11")
    return _by(world, redaction(*details, action="R"))


@called("redaction-unproved")
def _a_redaction_that_is_no_json(world: World) -> bytes:
    return _by(world, b"{")


@called("redaction-unproved")
def _a_redaction_in_another_form(world: World) -> bytes:
    return _by(world, world.contents[ERASER], form=2)


@called("redaction-unproved")
def _a_redaction_with_numbers_in_another_spelling(world: World) -> bytes:
    return _by(world, redaction(("caretrail-entry", "06"), ("caretrail-entries", "9-11-12")))


@called("redaction-unproved")
def _a_redaction_before_the_event(world: World) -> bytes:
    world.contents[ERASER] = redaction(("caretrail-entries", "6-38"))
    world.entries[ERASER] = world.entry(ERASER, world.contents[ERASER]).encode()
    members = _without(world.members(), 38)
    row = canonical({"by": ERASER, "index": 38}) + b"\n"
    return world.resigned({**members, "redactions.ndjson": members["redactions.ndjson"] + row})


@called("redaction-unproved")
def _an_erased_event_that_is_still_there(world: World) -> bytes:
    members = world.members()
    row = canonical({"by": ERASER, "index": 14}) + b"\n"
    return world.resigned({**members, "redactions.ndjson": members["redactions.ndjson"] + row})


# --- Other logs, other keys -----------------------------------------------------------------------


@called("unknown-key", "no-quorum")
def _another_log_of_the_same_name(world: World) -> Attack:
    other = World(2)
    return Attack(other.resigned(other.members()), world.policy())


@called("wrong-log")
def _an_entry_of_another_log(world: World) -> bytes:
    world.entries[14] = world.entry(14, world.contents[14], log=bytes(16)).encode()
    return world.resigned(world.members())


@called("wrong-log")
def _a_checkpoint_of_another_origin(world: World) -> bytes:
    text = world.checkpoint_text().replace(ORIGIN, "audit.example/other")
    return world.resigned(world.members(world.evidence(checkpoint=world.checkpoint(text=text))))


@called("mismatch")
def _a_manifest_of_another_size(world: World) -> bytes:
    return world.resigned(world.members(), size=50)


@called("key-not-valid")
def _a_rotated_key_signs_an_old_size(world: World) -> bytes:
    keys = [LogKey(world.old_key.vkey(), 0), LogKey(world.key.vkey(), 100)]
    policy = world.policy(keys=[world.key, world.old_key])
    return world.resigned(world.members(world.evidence(keys=keys, policy=policy)))


@called("key-not-valid")
def _a_key_of_the_past_signs_a_new_size(world: World) -> bytes:
    keys = [LogKey(world.key.vkey(), 0), LogKey(world.old_key.vkey(), 44)]
    policy = world.policy(keys=[world.key, world.old_key])
    return world.resigned(world.members(world.evidence(keys=keys, policy=policy)))


@called("key-not-valid")
def _a_key_without_a_period(world: World) -> bytes:
    return world.resigned(world.members(world.evidence(keys=[])))


@called("malformed")
def _periods_in_disorder(world: World) -> bytes:
    members = world.members()
    rows = [{"from": 9, "vkey": world.key.vkey()}, {"from": 0, "vkey": world.old_key.vkey()}]
    return world.resigned({**members, "keys.json": canonical(rows)})


@called("malformed")
def _a_key_that_anybody_can_sign_for(world: World) -> bytes:
    # A point of order one; its signatures need no secret.
    weak = _weak(bytes([1]) + bytes(31))
    members = world.members()
    return world.resigned({**members, "keys.json": canonical([{"from": 0, "vkey": weak}])})


def _weak(public: bytes) -> str:
    material = b"\1" + public
    number = sha256(ORIGIN.encode() + b"\n" + material).digest()[:4].hex()
    return f"{ORIGIN}+{number}+{b64encode(material).decode()}"


@called("bad-policy")
def _a_policy_with_a_weak_key(world: World) -> Attack:
    # The same point in a spelling that is not the shortest one.
    public = (2**255 - 19 + 1).to_bytes(32, "little")
    policy = f"log {_weak(public)}\nquorum none\n".encode()
    return Attack(world.resigned(world.members()), policy)


def _policy(name: str, lines: Callable[[World], list[str]]) -> None:
    def attack(world: World) -> Attack:
        text = "\n".join([f"log {world.key.vkey()}", *lines(world), ""])
        return Attack(world.resigned(world.members()), text.encode())

    ATTACKS[f"a policy {name}"] = attack, {"bad-policy"}


def _witness(world: World, number: int = 0) -> str:
    return world.witnesses[number].vkey()


def _low_order() -> list[int]:
    """Return the second coordinates of all points whose order is a divisor of 8 (RFC 8032, 5.1)."""
    field, order = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
    curve = -121665 * pow(121666, -1, field) % field

    def add(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
        (a, b), (c, d) = one, other
        product = curve * a * b * c * d
        x, y = pow(1 + product, -1, field), pow(1 - product, -1, field)
        return (a * d + b * c) * x % field, (b * d + a * c) * y % field

    found = set()
    for y in range(2, 40):  # Any point, times the large prime order, has one of the small orders.
        square = (y * y - 1) * pow(curve * y * y + 1, -1, field) % field
        x = pow(square, (field + 3) // 8, field)
        x = x if x * x % field == square else x * pow(2, (field - 1) // 4, field) % field
        if x * x % field == square:
            total, power = (0, 1), (x, y)
            for bit in range(order.bit_length()):
                total = add(total, power) if order >> bit & 1 else total
                power = add(power, power)
            found.add(total[1])
    assert len(found) == 5
    return sorted(found)


for _number, _y in enumerate(_low_order()):
    _policy(
        f"with low-order key {_number}",
        lambda _, y=_y: [f"log {_weak(y.to_bytes(32, 'little'))}", "quorum none"],
    )
    _policy(
        f"with low-order key {_number} and a sign",
        lambda _, y=_y: [f"log {_weak((y + 2**255).to_bytes(32, 'little'))}", "quorum none"],
    )


# --- Witnesses ------------------------------------------------------------------------------------


@called("no-quorum")
def _one_cosignature_too_few(world: World) -> bytes:
    checkpoint = world.checkpoint(signers=[world.key, world.witnesses[0]])
    return world.resigned(world.members(world.evidence(checkpoint=checkpoint)))


@called("no-quorum")
def _one_witness_cosigns_twice(world: World) -> bytes:
    checkpoint = world.checkpoint(signers=[world.key, *[world.witnesses[0]] * 2])
    return world.resigned(world.members(world.evidence(checkpoint=checkpoint)))


@called("bad-signature", "no-quorum")
def _a_cosignature_with_another_time(world: World) -> bytes:
    text = world.checkpoint_text()
    good = world.witnesses[0].line(text, START_SECONDS)
    raw = world.witnesses[1].line(text, START_SECONDS).split(" ")[2]
    signature = b64decode(raw)
    later = (START_SECONDS + 1).to_bytes(8) + signature[12:]
    lines = [world.key.line(text), good, world.witnesses[1].spelled(later)]
    checkpoint = f"{text}\n{''.join(lines)}".encode()
    return world.resigned(world.members(world.evidence(checkpoint=checkpoint)))


@called("unknown-key")
def _only_witnesses_have_signed(world: World) -> bytes:
    checkpoint = world.checkpoint(signers=world.witnesses)
    return world.resigned(world.members(world.evidence(checkpoint=checkpoint)))


@called("no-quorum")
def _two_auditors_get_different_trees(world: World) -> Attack:
    # The key's holder makes a second history; the witnesses have not signed it.
    world.contents[14] = b"{}"
    world.entries[14] = world.entry(14, b"{}").encode()
    checkpoint = world.checkpoint(signers=[world.key])
    members = world.members(world.evidence(checkpoint=checkpoint))
    return Attack(world.resigned(members), world.policy())


@called("bad-policy")
def _an_empty_policy(world: World) -> Attack:
    return Attack(world.resigned(world.members()), b"")


@called("unknown-key")
def _a_policy_without_logs(world: World) -> Attack:
    return Attack(world.resigned(world.members()), b"quorum none\n")


_policy("with a log twice", lambda w: [f"log {w.key.vkey()}", "quorum none"])
_policy(
    "with a witness twice",
    lambda w: [f"witness a {_witness(w)}", f"witness b {_witness(w)}", "quorum a"],
)
_policy(
    "with a name twice",
    lambda w: [f"witness a {_witness(w)}", f"witness a {_witness(w, 1)}", "quorum a"],
)
_policy("with a witness called none", lambda w: [f"witness none {_witness(w)}", "quorum none"])
_policy("with two quorums", lambda _: ["quorum none", "quorum none"])
_policy("with an unknown quorum", lambda _: ["quorum b"])
_policy("with an empty group", lambda _: ["group g all", "quorum g"])
_policy("with a group of strangers", lambda _: ["group g any a", "quorum g"])
_policy("with a group of none", lambda _: ["group g any none", "quorum g"])
_policy(
    "with a threshold too high", lambda w: [f"witness a {_witness(w)}", "group g 2 a", "quorum g"]
)
_policy(
    "with a threshold of none", lambda w: [f"witness a {_witness(w)}", "group g 0 a", "quorum g"]
)
_policy(
    "with a threshold in words", lambda w: [f"witness a {_witness(w)}", "group g 01 a", "quorum g"]
)
_policy(
    "with a member twice", lambda w: [f"witness a {_witness(w)}", "group g any a a", "quorum g"]
)
_policy(
    "with a member of two groups",
    lambda w: [f"witness a {_witness(w)}", "group g any a", "group h any a", "quorum g"],
)
_policy("with a log as witness", lambda w: [f"witness a {w.key.vkey()}", "quorum a"])
_policy("with a witness as log", lambda w: [f"log {_witness(w)}", "quorum none"])
_policy("with an unknown word", lambda _: ["trust everybody", "quorum none"])
_policy("of a text editor of Windows", lambda _: ["\r", "quorum none"])
_policy("with a broken key", lambda w: [f"log {w.key.vkey()[:-1]}", "quorum none"])
_policy(
    "with a key of another id",
    lambda w: [f"log {w.key.vkey().replace(ORIGIN, 'x')}", "quorum none"],
)


# --- Notes ----------------------------------------------------------------------------------------


def _note(name: str, change: Callable[[bytes], bytes], *codes: str) -> None:
    def attack(world: World) -> bytes:
        checkpoint = change(world.checkpoint())
        return world.resigned(world.members(world.evidence(checkpoint=checkpoint)))

    ATTACKS[f"a checkpoint {name}"] = attack, set(codes or ["malformed"])


_STRANGER: Final = Signer("many.example", bytes(32), 4).spelled(bytes(72)).encode()
_note("with 101 signatures", lambda note: note + _STRANGER * 97)
_note("with CRLF", lambda note: note.replace(b"\n", b"\r\n"))
_note("with a BOM", lambda note: b"\xef\xbb\xbf" + note, "wrong-log")
_note("that is not UTF-8", lambda note: b"\xff" + note)
_note("with a tab", lambda note: note.replace(b" ", b"\t", 1))
_note("without signatures", lambda note: note.partition(b"\n\n")[0] + b"\n\n")
_note("without an end", lambda note: note[:-1])
_note("with a blank line behind", lambda note: note + b"\n")
_note("with a hyphen as dash", lambda note: note.replace("—".encode(), b"-", 1))
_note("with loose base64", lambda note: note.replace(b"=\n", b"\n", 1))
_note("of two lines", lambda note: note.split(b"\n", 1)[1])
_note("with a short root", lambda note: note.replace(note.split(b"\n")[2], b"AAAA", 1))
_note("with a size in another spelling", lambda note: note.replace(b"\n45\n", b"\n045\n"))
_note("of size 2^63", lambda note: note.replace(b"\n45\n", b"\n9223372036854775808\n"))
_note("of size 0", lambda note: note.replace(b"\n45\n", b"\n0\n"))
_note("of another size", lambda note: note.replace(b"\n45\n", b"\n46\n"), "mismatch")
_note("that is empty", lambda _: b"")
_note("with a name of blanks", lambda note: note + "— a\u00a0b AAAAAAAA\n".encode())
_note("with a signature of nothing", lambda note: note + "— a AAAAAA==\n".encode())


# --- Proofs ---------------------------------------------------------------------------------------


@called("tree-altered")
def _a_proof_with_an_extra_hash(world: World) -> bytes:
    left, right = sides_of(START, END, world.leaves())
    proof = Range(START, END, [*left, bytes(32)], right)
    return world.resigned(world.members(world.evidence(proof=proof)))


@called("tree-altered")
def _a_proof_with_a_hash_too_few(world: World) -> bytes:
    left, right = sides_of(START, END, world.leaves())
    return world.resigned(world.members(world.evidence(proof=Range(START, END, left, right[1:]))))


@called("malformed")
def _a_proof_with_a_short_hash(world: World) -> bytes:
    left, right = sides_of(START, END, world.leaves())
    proof = Range(START, END, [bytes(31), *left[1:]], right)
    return world.resigned(world.members(world.evidence(proof=proof)))


@called("malformed")
def _a_size_of_2_to_the_63(world: World) -> bytes:
    return world.resigned(world.members(), size=2**63)


@called("malformed")
def _a_range_of_nothing(world: World) -> bytes:
    return world.resigned(world.members(), end=START)


@called("malformed")
def _a_range_beyond_the_tree(world: World) -> bytes:
    return world.resigned(world.members(), end=46)


def _single(name: str, change: Callable[[Members, World], Members], *codes: str) -> None:
    def attack(world: World) -> bytes:
        members = world.members(world.singles([3, 7, 44]))
        return world.resigned(change(members, world))

    ATTACKS[f"single proofs {name}"] = attack, set(codes)


_SEVEN: Final = "proof/7.tlog-proof"
_single("with one of another entry", lambda m, w: {**m, _SEVEN: w.proof(8)}, "mismatch")
_single(
    "with one that says so of another entry",
    lambda m, w: {**m, _SEVEN: w.proof(8).replace(b"index 8", b"index 7")},
    "tree-altered",
)
_single(
    "with an extra hash",
    lambda m, w: _change(m, _SEVEN, b"\n\n", b"\n" + b"A" * 43 + b"=\n\n"),
    "tree-altered",
)
_single(
    "with 64 hashes",
    lambda m, w: _change(m, _SEVEN, b"\n\n", (b"\n" + b"A" * 43 + b"=") * 64 + b"\n\n"),
    "malformed",
)
_single(
    "without a blank line",
    lambda m, w: {**m, _SEVEN: b"c2sp.org/tlog-proof@v1\nindex 7"},
    "mismatch",
)
_single("of another version", lambda m, w: _change(m, _SEVEN, b"@v1", b"@v2"), "malformed")
_single(
    "with extra data", lambda m, w: _change(m, _SEVEN, b"@v1\n", b"@v1\nextra AAAA\n"), "mismatch"
)
_single("with an unsigned checkpoint", lambda m, w: {**m, _SEVEN: w.proof(7)[:-1]}, "mismatch")
_single("without one", lambda m, w: {n: b for n, b in m.items() if n != _SEVEN}, "missing-file")
_single("with one too many", lambda m, w: {**m, "proof/8.tlog-proof": w.proof(8)}, "extra-file")
_single("with an index twice", lambda m, w: {**m, "indexes.json": b"[3,7,7]"}, "duplicate-index")
_single("in disorder", lambda m, w: {**m, "indexes.json": b"[7,3,44]"}, "wrong-order")
_single("outside the tree", lambda m, w: {**m, "indexes.json": b"[3,7,45]"}, "not-covered")
_single("of nothing", lambda m, w: {**m, "indexes.json": b"[]"}, "malformed")
_single("of a fraction", lambda m, w: {**m, "indexes.json": b"[3,7.0,44]"}, "malformed")
_single("of a range, too", lambda m, w: {**m, "proof/range.json": b"{}"}, "extra-file")
_single(
    "with swapped entries",
    lambda m, w: {**m, "leaves.bin": m["leaves.bin"][130:] + m["leaves.bin"][:130]},
    "tree-altered", "content-altered",
)  # fmt: skip


# --- The archive ----------------------------------------------------------------------------------


@called("extra-file")
def _a_member_that_is_not_listed(world: World) -> bytes:
    return archive({**world.members(), "README.md": b"trust me"})


@called("extra-file")
def _a_listed_member_that_the_format_does_not_know(world: World) -> bytes:
    return world.resigned({**world.members(), "more.json": b"{}"})


@called("extra-file")
def _a_path_out_of_the_folder(world: World) -> bytes:
    return world.resigned({**world.members(), "../../etc/passwd": b"root"})


@called("missing-file")
def _a_listed_member_is_missing(world: World) -> bytes:
    members = world.members()
    del members["README.txt"]
    return archive(members)


@called("missing-file")
def _a_needed_member_is_missing(world: World) -> bytes:
    members = world.members()
    del members["redactions.ndjson"]
    return world.resigned(members)


@called("missing-file")
def _no_manifest(world: World) -> bytes:
    members = world.members()
    del members["manifest.json"]
    return archive(members)


def _zip(*members: tuple[str | ZipInfo, bytes], method: int = 0, comment: bytes = b"") -> bytes:
    target = io.BytesIO()
    with ZipFile(target, "w", method) as made:
        for name, body in members:
            made.writestr(name, body)
        made.comment = comment
    return target.getvalue()


@called("duplicate-file")
def _a_member_twice(world: World) -> bytes:
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        return _zip(*world.members().items(), ("events.ndjson", b""))


@called("malformed")
def _an_archive_with_a_comment(world: World) -> bytes:
    return _zip(*world.members().items(), comment=b"hello")


@called("malformed")
def _an_archive_with_something_before(world: World) -> bytes:
    return b"#!/bin/sh\n" + archive(world.members())


@called("malformed")
def _an_archive_with_something_behind(world: World) -> bytes:
    return archive(world.members()) + b"\n"


@called("malformed")
def _an_archive_that_is_cut_off(world: World) -> bytes:
    return archive(world.members())[:-1]


@called("malformed")
def _no_archive(world: World) -> bytes:
    return b"evidence"


@called("malformed")
def _an_archive_that_is_compressed_otherwise(world: World) -> bytes:
    return _zip(*world.members().items(), method=14)


@called("malformed")
def _an_encrypted_member(world: World) -> bytes:
    whole = bytearray(archive(world.members()))
    for magic, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        whole[whole.index(magic) + at] |= 1
    return bytes(whole)


@called("malformed")
def _a_member_whose_two_heads_differ(world: World) -> bytes:
    whole = archive(world.members())
    return whole.replace(b"manifest.json", b"manifesT.json", 1)


@called("malformed")
def _a_member_with_an_extra_field(world: World) -> bytes:
    info = ZipInfo("checkpoint", (1980, 1, 1, 0, 0, 0))
    info.extra = struct.pack("<HHI", 0x9999, 4, 0)
    members = world.members()
    return _zip((info, members.pop("checkpoint")), *members.items())


@called("malformed")
def _a_member_that_unpacks_to_more_than_it_says(world: World) -> bytes:
    return _bomb(says=10, holds=1_000_000)


@called("malformed")
def _a_bomb(world: World) -> bytes:
    return _bomb(says=2**31, holds=1_000_000)


def _bomb(*, says: int, holds: int) -> bytes:
    whole = bytearray(_zip(("manifest.json", bytes(holds)), method=ZIP_DEFLATED))
    for magic, at in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        struct.pack_into("<I", whole, whole.index(magic) + at, says)
    return bytes(whole)


@called("malformed")
def _deflated_data_with_something_behind(world: World) -> bytes:
    body = b"{}" * 50
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(body) + packer.flush() + b"secret"
    name = b"manifest.json"
    shape = (20, 0, 8, 0, 33, zlib.crc32(body), len(packed), len(body), len(name), 0)
    local = b"PK\3\4" + struct.pack("<HHHHHIIIHH", *shape) + name + packed
    rest = struct.pack("<HHHII", 0, 0, 0, 0, 0)
    row = b"PK\1\2" + struct.pack("<H", 20) + struct.pack("<HHHHHIIIHH", *shape) + rest + name
    return local + row + struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 1, 1, len(row), len(local), 0)


# --- JSON -----------------------------------------------------------------------------------------


def _json(name: str, member: str, old: bytes, new: bytes, *codes: str) -> None:
    def attack(world: World) -> bytes:
        members = _change(world.members(), member, old, new)
        return archive(members) if member == "manifest.json" else world.resigned(members)

    ATTACKS[f"a member {name}"] = attack, set(codes or ["malformed"])


_json("with white space", "manifest.json", b",", b", ")
_json("in another order", "proof/range.json", b'{"end":40,', b'{"start":3,"end":40,')
_json("with a name twice", "salts.ndjson", b'{"index":4,', b'{"index":4,"index":4,')
_json("with a needless escape", "events.ndjson", b"AuditEvent", b"\\u0041uditEvent")
_json("with half a surrogate pair", "events.ndjson", b"AuditEvent", b"\\ud800")
_json("with a surrogate pair as escapes", "manifest.json", b"officer", b"\\ud83d\\ude00")
_json("that is not UTF-8", "subjects.ndjson", b"Patient", b"\xff")
_json("with a BOM", "redactions.ndjson", b'{"by"', b'\xef\xbb\xbf{"by"')
_json("with an empty line", "salts.ndjson", b"\n", b"\n\n")
_json("with true", "redactions.ndjson", b'"index":6', b'"index":true')
_json("with a negative number", "redactions.ndjson", b'"index":6', b'"index":-6')
_json("with minus zero", "redactions.ndjson", b'"index":6', b'"index":-0')
_json("with a fraction", "redactions.ndjson", b'"index":6', b'"index":6.0')
_json("with a number too large", "redactions.ndjson", b'"index":6', b'"index":9007199254740993')
_json("with NaN", "redactions.ndjson", b'"index":6', b'"index":NaN')
_json("with another field", "subjects.ndjson", b'"subject"', b'"salt":"","subject"')
_json("with a long key", "subjects.ndjson", b'{"key":"', b'{"key":"00')
_json("with base64 instead of text", "events.ndjson", b'{"content":', b'{"content_base64":')
_json("that is no object", "redactions.ndjson", b'{"by":37,"index":6}', b"6")
_json("that nests without end", "keys.json", b"[", b"[" * 100_000)
_json("of another format", "manifest.json", b"evidence/v1", b"evidence/v2")
_json("without a log", "manifest.json", b'"log":', b'"lag":')


@called("malformed")
def _base64_where_text_would_do(world: World) -> bytes:
    members = world.members()
    row = _row(members["events.ndjson"], 14)
    other = {"content_base64": b64encode(world.contents[14]).decode(), "index": 14}
    return world.resigned(_change(members, "events.ndjson", row, canonical(other) + b"\n"))


@called("malformed")
def _a_selection_with_numbers(world: World) -> bytes:
    return world.resigned(world.members(), selection={"rows": 3})


@called("malformed")
def _a_selection_with_strange_names(world: World) -> bytes:
    return world.resigned(world.members(), selection={"__proto__": "x"})


@called("malformed")
def _a_manifest_that_covers_half_a_range(world: World) -> bytes:
    return world.resigned(world.members(), end=None)


@called("malformed")
def _an_entry_of_another_version(world: World) -> bytes:
    world.entries[5] = world.entries[5].replace(b"entry/v1", b"entry/v2")
    return world.resigned(world.members())


@called("malformed")
def _an_entry_with_something_behind(world: World) -> bytes:
    world.entries[5] += b"\0"
    return world.resigned(world.members())


@called("kept-back")
def _a_tag_among_many(world: World) -> bytes:
    tags = world.entry(14, b"").tags
    around = [bytes([n]) * 8 for n in range(9)]
    world.entries[14] = world.entry(14, b"", tags=(*around, *tags, *around)).encode()
    return world.resigned(_without(world.members(), 14))


@called("content-altered")
def _a_commitment_without_its_domain(world: World) -> bytes:
    bare = digest(world.salts[14], world.contents[14], "sha256")
    assert bare != commitment(world.salts[14], world.contents[14])
    world.entries[14] = world.entry(14, b"", commitment=bare).encode()
    return world.resigned(world.members())


@called("bad-timestamp")
def _a_time_stamp_of_something_else(world: World) -> bytes:
    token = stamp(b"another checkpoint")
    return world.resigned(world.members(world.evidence(timestamps={"a.tsr": token})))


@called("bad-timestamp")
def _a_time_stamp_that_is_cut_off(world: World) -> bytes:
    token = stamp(world.checkpoint())[:-1]
    return world.resigned(world.members(world.evidence(timestamps={"a.tsr": token})))


@called("bad-timestamp")
def _a_time_stamp_that_was_refused(world: World) -> bytes:
    token = stamp(world.checkpoint(), status=2)
    return world.resigned(world.members(world.evidence(timestamps={"a.tsr": token})))
