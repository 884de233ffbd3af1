"""An evidence bundle out of a log that is open (reference: evidence bundle).

What was asked is recorded first, as an event of the log's own. Then a checkpoint over that event is
waited for, and the bundle is cut under it: so every bundle tells that it was made.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

from caretrail import evidence
from caretrail.errors import (
    ConfigurationError,
    ConflictError,
    Issue,
    ParameterError,
    StoreError,
    TooLargeError,
    UnavailableError,
    UnprocessableError,
)
from caretrail.exporting import found
from caretrail.exporting.announcing import Exported, Progress, in_thread
from caretrail.exporting.gathering import Gathered, Teller
from caretrail.exporting.selection import subjects_of
from caretrail.fhir.temporal import format_instant
from caretrail.limits import (
    EXPORT_CHECKPOINT_SECONDS_MAX,
    EXPORT_PROOFS_MAX,
    EXPORT_STAMP_SECONDS_MAX,
)
from caretrail.tlog.evidence import Evidence, LogKey, Range, Singles, members
from caretrail.tlog.policy import NONE, Log, Policy
from caretrail.tlog.proof_file import ProofFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from caretrail.exporting.announcing import Announcement
    from caretrail.exporting.selection import Selection
    from caretrail.publisher.publishing import Publisher, Signed
    from caretrail.repository import Repository
    from caretrail.storage.contract import Proofs
    from caretrail.tlog.note import VerifierKey

MEDIA: Final = "application/vnd.caretrail.evidence+zip"
_MODE: Final = 0o600


class Cutter:
    """Cuts one bundle; with a `target` that is not there yet."""

    def __init__(
        self,
        repository: Repository,
        publisher: Publisher,
        selection: Selection,
        *,
        said: Announcement,
        on_progress: Callable[[Progress], None] = lambda _: None,
    ) -> None:
        self._repository, self._publisher = repository, publisher
        self._selection, self._said = selection, said
        self._on_progress = on_progress
        self._subjects = subjects_of(selection.subjects, repository.identity.tag_key)

    async def write(self, target: Path) -> Exported:
        """Write the bundle; raise TooLargeError for one that has to cover less.

        A search that finds nothing raises UnprocessableError: nothing cannot be proved that way.
        UnavailableError says that no checkpoint was signed and cosigned in time.
        """
        made = await (self._found() if self._selection.filters else self._ranged())
        await self._pack(made, target)
        return Exported(len(made.disclosed), self._said.at)

    # A search: its matches, one by one, or as a range in which nothing else is shown.

    async def _found(self) -> Evidence:
        until = self._repository.size
        entries = await found.matches(
            self._repository,
            self._selection,
            until=until,
            on_found=lambda count: self._on_progress(Progress(0, count)),
        )
        if not entries:
            raise UnprocessableError(
                "no event fits the search: only a report about a subject, or a range, can prove"
                " that there is none"
            )
        said = await self._said.say(len(entries))
        signed = await self._covering(said)
        gathered = Gathered(set(entries).__contains__)
        total = len(entries)
        if total > EXPORT_PROOFS_MAX and self._selection.is_narrow:
            # Past that a bundle covers a range, and with it entries that may not be seen.
            raise TooLargeError(f"with this credential a bundle has {EXPORT_PROOFS_MAX} events")
        if total > EXPORT_PROOFS_MAX:
            first, end = entries[0], entries[-1] + 1
            await self._gather(gathered, range(first, end), total=end - first)
            return await self._evidence(gathered, signed, await self._range(first, end, signed))
        await self._gather(gathered, entries, total=total)
        proofs = await self._repository.prove(
            lambda proofs: {one: _proof(proofs, one, signed) for one in entries}
        )
        return await self._evidence(gathered, signed, Singles(proofs))

    # A range, of which everything is shown, or everything about the subjects.

    async def _ranged(self) -> Evidence:
        until, (start, end) = self._repository.size, self._selection[2:4]
        if start >= until or (end is not None and end > until):
            raise ParameterError((Issue("invalid", f"the log has {until} entries"),))
        tell = Teller([one.key for one in self._subjects]) if self._subjects else None
        gathered = Gathered(None, about=tell)
        stop = until if end is None else end
        await self._gather(gathered, range(start, stop), total=stop - start)
        said = await self._said.say(len(gathered.disclosed))
        signed = await self._covering(said)
        if end is None:
            # What came meanwhile, this export's own event among it, is covered as well.
            await self._gather(gathered, range(stop, signed.size), total=signed.size - start)
            stop = signed.size
        await self._redactions(gathered, stop)
        return await self._evidence(gathered, signed, await self._range(start, stop, signed))

    async def _redactions(self, gathered: Gathered, end: int) -> None:
        """Disclose the events that say why others were erased, as far as the range reaches."""
        late = [one for one in gathered.redacted if one.by >= end]
        if late and self._subjects:
            # Without its redaction an entry about a subject would look like one kept back.
            raise ConflictError(
                "an event of this range was erased later: let the range end later, or export again"
            )
        gathered.drop_redactions(late)
        for cause in sorted({one.by for one in gathered.redacted} - gathered.shown):
            (sealed,) = await self._repository.prove(
                lambda proofs, at=cause: list(proofs.sealed(at, at + 1))  # type: ignore[misc]
            )
            gathered.disclose(sealed)

    async def _gather(self, gathered: Gathered, entries: Sequence[int], *, total: int) -> None:
        for runs in found.portions(entries):
            rows = await self._repository.prove(
                lambda proofs, runs=runs: gathered.judged(  # type: ignore[misc]
                    one for run in runs for one in proofs.sealed(*run)
                )
            )
            gathered.take(rows)
            self._on_progress(Progress(len(gathered.entries), total, runs[-1][1] - 1))

    async def _covering(self, entry: int) -> Signed:
        cosigned = self._publisher.has_witnesses
        signed = await self._publisher.covering(
            entry, cosigned=cosigned, seconds=EXPORT_CHECKPOINT_SECONDS_MAX
        )
        if signed is None:
            who = "enough witnesses have not cosigned" if cosigned else "the log has not signed"
            raise UnavailableError(f"{who} a checkpoint over this export in time: ask again later")
        return signed

    async def _range(self, start: int, end: int, signed: Signed) -> Range:
        sides = await self._repository.prove(
            lambda proofs: proofs.prover.range(start=start, end=end, size=signed.size)
        )
        return Range(start, end, *sides)

    async def _evidence(
        self, gathered: Gathered, signed: Signed, proof: Range | Singles
    ) -> Evidence:
        """Return the parts of the bundle."""
        size = signed.size
        history = self._repository.keys
        stamp = await self._publisher.stamp(signed.note, seconds=EXPORT_STAMP_SECONDS_MAX)
        told = self._told(gathered)
        if stamp is None and self._publisher.has_authority:
            told["time-stamp"] = "none: the time-stamping authority gave none in time"
        return Evidence(
            origin=self._repository.origin,
            log=self._repository.identity.log,
            size=size,
            selection=told,
            checkpoint=signed.note.format(),
            policy=policy_of(history.valid_keys(size), self._publisher.policy),
            keys=[LogKey(key.format(), one.since) for one in history.periods for key in one.keys],
            proof=proof,
            entries=gathered.entries,
            disclosed=gathered.disclosed,
            redacted=gathered.redacted,
            subjects=self._subjects,
            timestamps={f"{size}.tsr": stamp} if stamp is not None else {},
            attachments=evidence.attachments(),
        )

    def _told(self, gathered: Gathered) -> dict[str, str]:
        told = {
            "query": self._said.query,
            "asked-by": self._said.requester,
            "asked-at": format_instant(self._said.at),
        }
        if gathered.unproved:
            told["erased-later"] = (
                f"{gathered.unproved} entries of this range were erased; that is proved by a range"
                " that reaches further"
            )
        return told

    async def _pack(self, made: Evidence, target: Path) -> None:
        """Have the manifest signed and write the archive, in a thread: both take their time."""
        loop = asyncio.get_running_loop()

        def sign(text: str) -> bytes:
            signing = asyncio.run_coroutine_threadsafe(self._publisher.sign_text(text), loop)
            return signing.result().format()

        def pack() -> None:
            whole = members(made, sign)
            file = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, _MODE)
            with os.fdopen(file, "wb") as opened:
                evidence.write_archive(whole, opened)
                opened.flush()
                os.fsync(file)

        try:
            await in_thread(pack)
        except OSError as error:
            raise StoreError(f"the bundle cannot be written ({error.strerror})") from error


def policy_of(keys: Iterable[VerifierKey], policy: Policy | None) -> bytes:
    """Return the policy to check a bundle by: these keys of the log, and its own witnesses.

    Without witnesses nobody else is asked for (C2SP tlog-policy, `quorum none`). Raises
    ConfigurationError for a policy that is not UTF-8.
    """
    asked = policy if policy is not None else Policy((), (), (), NONE)
    text = asked._replace(logs=tuple([Log(key) for key in keys])).format()
    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            "a name or an address in the witness policy is not UTF-8, which a bundle needs"
        ) from error
    return text


def _proof(proofs: Proofs, entry: int, signed: Signed) -> bytes:
    hashes = proofs.prover.inclusion(index=entry, size=signed.size)
    return ProofFile(entry, hashes, signed.note).format()
