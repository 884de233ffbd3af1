"""Verifying one event: from its bytes to its leaf, up the tree, to the signed root, step by step.

It is computed anew from what `$original` and `$proof` hand out, as an outsider would do it, and not
asked of the store.
"""

from __future__ import annotations

from base64 import b64decode
from typing import TYPE_CHECKING, Any, Final

from caretrail.errors import VerificationError
from caretrail.tlog.checkpoint import Checkpoint
from caretrail.tlog.cosignature import verifier
from caretrail.tlog.entry import Entry, commitment
from caretrail.tlog.key_history import KeyHistory
from caretrail.tlog.note import verified as verified_signatures
from caretrail.tlog.proof import inclusion_path, root_from_inclusion
from caretrail.tlog.proof_file import ProofFile
from caretrail.tlog.tree import leaf_hash, node_hash

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caretrail.console.asking import Asking
    from caretrail.tlog.proof import Span

_PROOF: Final = "/fhir/AuditEvent/{}/$proof"
_ORIGINAL: Final = "/fhir/AuditEvent/{}/$original"
# The picture: a column of the event's own nodes, and its siblings beside them.
_STEP: Final = 40
_NODE: Final = 96
_SHOWN: Final = 10  # hexadecimal digits of a hash


async def verified(asking: Asking, event_id: str) -> dict[str, Any]:
    """Return the verdict on one event, with each check, and the path drawn."""
    rows = {one["name"]: one for one in await asking.parameters(_PROOF.format(event_id))}
    entry = b64decode(rows["entry"]["valueBase64Binary"])
    file = ProofFile.parse(rows["proof"]["valueString"].encode())
    checks = [await _content(asking, event_id, entry, rows.get("salt"))]
    signed, by, witnesses = _signed(asking, file)
    checks.append(signed)
    checkpoint = Checkpoint.parse(file.checkpoint.text)
    path = inclusion_path(index=file.index, size=checkpoint.size)
    steps, root = _climb(leaf_hash(entry), file, path)
    checks.insert(1, _included(entry, file, checkpoint))
    holds = all(one["holds"] for one in checks)
    return {
        "holds": holds,
        "said": "The event stands in the log as it was received, and nobody has changed it since."
        if holds
        else "Something does not fit: tell the security officer, and run `caretrail verify`.",
        "origin": checkpoint.origin,
        "index": file.index,
        "size": checkpoint.size,
        "root": checkpoint.root.hex(),
        "signed_by": by,
        "witnesses": witnesses,
        "checks": checks,
        "steps": steps,
        "picture": _picture(leaf_hash(entry), steps, root),
    }


async def _content(
    asking: Asking, event_id: str, entry: bytes, salt: dict[str, Any] | None
) -> dict[str, Any]:
    """Check that the received bytes are those that the entry commits to."""
    if salt is None:
        return {"holds": True, "text": "The content was erased; its entry remains."}
    if not asking.may("$original"):
        return {"holds": True, "text": "Your role does not see the bytes: they were not compared."}
    body = (await asking.answer(_ORIGINAL.format(event_id), is_beside=True)).body
    bound = Entry.decode(entry).commitment
    holds = commitment(b64decode(salt["valueBase64Binary"]), body) == bound
    said = "are those" if holds else "are not those"
    return {"holds": holds, "text": f"The received bytes {said} that the entry commits to."}


def _included(entry: bytes, file: ProofFile, checkpoint: Checkpoint) -> dict[str, Any]:
    try:
        root = root_from_inclusion(
            leaf_hash(entry), index=file.index, size=checkpoint.size, proof=file.proof
        )
    except VerificationError as error:
        return {"holds": False, "text": f"The path does not hold: {error}."}
    holds = root == checkpoint.root
    said = "is that" if holds else "is not that"
    return {"holds": holds, "text": f"The root of the path {said} of the checkpoint."}


def _signed(asking: Asking, file: ProofFile) -> tuple[dict[str, Any], list[str], list[str]]:
    """Check the log's signature, and name the witnesses whose cosignatures hold."""
    publisher = asking.service.publisher
    assert publisher is not None, "who has a proof has a publisher"
    try:
        opened = KeyHistory.parse(publisher.keys).open(file.checkpoint)
    except VerificationError as error:
        return {"holds": False, "text": f"The checkpoint: {error}."}, [], []
    by = [one.name for one in opened.verified]
    said = {"holds": True, "text": "A key of the log has signed the checkpoint."}
    witnesses = []
    for one in publisher.policy.witnesses if publisher.policy is not None else ():
        try:
            found = verified_signatures(file.checkpoint, [verifier(one.key)])
        except VerificationError:
            continue
        witnesses += [one.name] if found else []
    return said, list(dict.fromkeys(by)), witnesses


def _climb(
    leaf: bytes, file: ProofFile, path: Sequence[Span]
) -> tuple[list[dict[str, Any]], bytes]:
    """Return each step from the leaf to the root (RFC 9162, 2.1.3.2)."""
    node, steps = leaf, []
    for span, sibling in zip(path, file.proof, strict=False):
        is_left = span.start <= file.index and span.end <= file.index
        node = node_hash(sibling, node) if is_left else node_hash(node, sibling)
        steps.append(
            {
                "start": span.start,
                "end": span.end,
                "side": "left" if is_left else "right",
                "sibling": sibling.hex(),
                "node": node.hex(),
            }
        )
    return steps, node


def _picture(leaf: bytes, steps: Sequence[dict[str, Any]], root: bytes) -> dict[str, Any]:
    """Return where the nodes and the edges of the drawing are; the root is on top."""
    count = len(steps)
    middle, height = 190, (count + 1) * _STEP + 10
    nodes, edges = [], []

    def place(text: str, x: float, y: float, kind: str) -> None:
        nodes.append({"x": x - _NODE / 2, "y": y, "width": _NODE, "text": text, "kind": kind})

    place(leaf.hex()[:_SHOWN], middle, count * _STEP + 4, "own")
    for n, one in enumerate(steps, 1):
        y = (count - n) * _STEP + 4
        side = middle + (-130 if one["side"] == "left" else 130)
        edges += [
            (middle, y + 22, middle, y + _STEP),
            (middle, y + 22, side, y + _STEP),
        ]
        place(one["sibling"][:_SHOWN], side, y + _STEP, "")
        place(one["node"][:_SHOWN], middle, y, "root" if n == count else "own")
    assert not steps or steps[-1]["node"] == root.hex()
    return {"width": 2 * middle, "height": height, "nodes": nodes, "lines": edges}
