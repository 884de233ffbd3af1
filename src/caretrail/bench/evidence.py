"""What evidence costs: proofs, offline verification, and the time until a checkpoint covers a post."""

from __future__ import annotations

import asyncio
import http.client
import io
import os
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from caretrail.bench import children
from caretrail.bench.load import quantile
from caretrail.evidence import verify as verifier
from caretrail.evidence import write_archive
from caretrail.storage.contract import LogPlace
from caretrail.storage.stores import open_store
from caretrail.tlog import checkpoint as checkpoints
from caretrail.tlog.checkpoint import Checkpoint
from caretrail.tlog.evidence import Disclosed, Evidence, LogKey, Range, members
from caretrail.tlog.key_history import KeyHistory
from caretrail.tlog.keys import SEED_BYTES, Ed25519PrivateKey
from caretrail.tlog.note import Note, NoteSigner
from caretrail.tlog.proof import verify_inclusion
from caretrail.tlog.tree import leaf_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from caretrail.storage.contract import Proofs, Storage

T = TypeVar("T")

_PROOFS: Final = 20_000
_BUNDLED_EVENTS: Final = 20_000


class Rates(NamedTuple):
    """Proofs made and checked, and events of an evidence bundle verified, in a second of a core."""

    proved: float
    checked: float
    bundled: float


class Waits(NamedTuple):
    """Milliseconds from a post to the receipt with its proof: signed alone, and cosigned as well."""

    signed: list[float]
    cosigned: list[float]

    @property
    def signed_p99(self) -> float:
        """Return the 99th percentile until the log's own checkpoint covers the event."""
        return quantile(self.signed, 0.99)

    @property
    def cosigned_p99(self) -> float:
        """Return the same for a checkpoint that a witness on this machine has cosigned."""
        return quantile(self.cosigned, 0.99)


def rates(folder: Path) -> Rates:
    """Measure over a log that nobody else has open; what is made is verified, too."""
    storage = open_store(LogPlace(folder))
    try:
        proofs = storage.proofs()
        size, root = storage.found.size, storage.found.root()
        count = min(_PROOFS, size)
        leaves = [leaf_hash(one.data) for one in proofs.sealed(0, count)]
        made, proved = _timed(
            lambda: [proofs.prover.inclusion(index=n, size=size) for n in range(count)]
        )
        _, checked = _timed(lambda: _check(leaves, made, size=size, root=root))
        covered = min(_BUNDLED_EVENTS, size)
        bundle = _bundle(storage, proofs, covered)
        check, bundled = _timed(lambda: verifier.Check(bundle))
        assert check.holds(), verifier.page(check)
        return Rates(count / proved, count / checked, covered / bundled)
    finally:
        asyncio.run(storage.close())


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    begun = time.process_time()
    return work(), time.process_time() - begun


def _check(
    leaves: Sequence[bytes], proofs: Sequence[tuple[bytes, ...]], *, size: int, root: bytes
) -> None:
    for index, (leaf, proof) in enumerate(zip(leaves, proofs, strict=True)):
        verify_inclusion(leaf, index=index, size=size, proof=proof, root=root)


def _bundle(storage: Storage, proofs: Proofs, covered: int) -> bytes:
    """Return a bundle of the first events, signed by a key for this purpose only."""
    signer = NoteSigner(storage.origin, Ed25519PrivateKey(os.urandom(SEED_BYTES)))
    size, root = storage.found.size, storage.found.root()
    note = checkpoints.sign(Checkpoint(storage.origin, size, root), [signer])
    sealed = list(proofs.sealed(0, covered))
    left, right = proofs.prover.range(start=0, end=covered, size=size)
    vkey = signer.key.format()
    evidence = Evidence(
        storage.origin,
        storage.identity.log,
        size,
        {"purpose": "bench"},
        note.format(),
        f"log {vkey}\nquorum none\n".encode(),
        [LogKey(vkey, 0)],
        Range(0, covered, left, right),
        [one.data for one in sealed],
        [Disclosed(one.entry, one.record.body, one.salt) for one in sealed if one.record and one.salt],
    )  # fmt: skip
    target = io.BytesIO()
    write_archive(members(evidence, lambda text: Note(text, (signer.sign(text),)).format()), target)
    return target.getvalue()


def waits(bodies: Sequence[bytes]) -> Waits:
    """Post events one by one, to a log without and to one with a witness, and wait for receipts."""
    half = len(bodies) // 2
    with tempfile.TemporaryDirectory(prefix="caretrail-") as name:
        folder = Path(name)
        with children.server(folder / "alone") as (_, address):
            signed = _receipts(address, bodies[:half])
        with ExitStack() as stack:
            policy = _witness(stack, folder)
            arguments = ("--witness-policy", str(policy))
            _, address = stack.enter_context(children.server(folder / "seen", *arguments))
            cosigned = _receipts(address, bodies[half:])
    return Waits(signed, cosigned)


def _witness(stack: ExitStack, folder: Path) -> Path:
    """Run a witness that lets any log of this machine in; return the policy that names it."""
    # The log's key has to be known to the witness before it starts: the log is made first.
    with children.server(folder / "seen"):
        pass
    key = _log_key(folder / "seen")
    data = str(folder / "witness")
    arguments = ["witness", "--data", data, "--port", "0", "--name", "bench.example"]
    arguments += ["--log", key, "--log-level", "warning"]
    process = stack.enter_context(children.child(children.COMMAND, *arguments))
    process.read()
    lines = [process.read().decode(), process.read().decode()]
    (row,) = [line.strip() for line in lines if line.strip().startswith("witness ")]
    policy = folder / "policy"
    policy.write_text(f"{row}\nquorum {row.split()[1]}\n", encoding="utf-8")
    return policy


def _log_key(folder: Path) -> str:
    storage = open_store(LogPlace(folder))
    try:
        return KeyHistory.parse(storage.keys).periods[0].keys[0].format()
    finally:
        asyncio.run(storage.close())


def _receipts(address: children.Address, bodies: Sequence[bytes]) -> list[float]:
    connection = http.client.HTTPConnection("127.0.0.1", address.port, timeout=60)
    headers = {
        "Authorization": f"Bearer {address.token}",
        "Content-Type": "application/fhir+json",
        "Prefer": "caretrail-receipt=wait",
    }
    taken = []
    for body in bodies:
        begun = time.perf_counter()
        connection.request("POST", "/fhir/AuditEvent", body, headers)
        answer = connection.getresponse()
        receipt = answer.read()
        taken.append((time.perf_counter() - begun) * 1000)
        assert answer.status == 201
        assert b'"proof"' in receipt
    connection.close()
    return taken
