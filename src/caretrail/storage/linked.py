"""What of a store goes through its writer, a process of its own (see `process`)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec

from caretrail.limits import QUARANTINE_BYTES_MAX
from caretrail.sequencer import key_of, prepare
from caretrail.storage import messages as say
from caretrail.storage.contract import Known
from caretrail.tlog.entry import Entry
from caretrail.tlog.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caretrail.search.record import Record
    from caretrail.sequencer import Batch, Identity, Pending
    from caretrail.storage.contract import Reads, Refused, Sealed, Sender
    from caretrail.storage.data_keys import Month
    from caretrail.storage.process import Link

# The property that a retired log has: where it went.
MOVED: Final = "moved"


class Linked:
    """The writing half of `contract.Storage`, for backends whose `searcher` reads in this process."""

    origin: str
    keys: str

    def __init__(self, writer: Link) -> None:
        """Take the writer, which has opened the log."""
        self._writer = writer
        self.found = self._noted(writer.state)

    def searcher(self) -> Reads:
        """Return what reads for the calling thread."""
        raise NotImplementedError

    async def tree(self) -> Tree:
        """Return the tree as it is on disk, asked anew: what a restart would find."""
        return self._noted(await self._writer.ask(say.AskState()))

    def _noted(self, state: say.Answer) -> Tree:
        assert isinstance(state, say.State)
        self._quarantined = state.quarantined
        return Tree(state.size, tuple(state.frontier))

    async def commit(self, batch: Batch, *, unless_known: bool = False) -> Tree | Known:
        """Add `batch` whole, or not at all (see `contract.Storage.commit`)."""
        rows = [_row(event, batch.start + n) for n, event in enumerate(batch.events)]
        answer = await self._writer.ask(say.Commit(batch.start, rows, unless_known))
        if isinstance(answer, say.Found):
            return Known(await asyncio.to_thread(self._at, answer.pairs))
        return self._noted(answer)

    def _at(self, pairs: Sequence[tuple[int, int]]) -> dict[int, list[Record]]:
        found: dict[int, list[Record]] = {}
        for value, entry in pairs:
            found.setdefault(value, []).extend(self.searcher().entries(entry, entry + 1))
        return found

    async def quarantine(self, rows: Sequence[Refused], sender: Sender, at: int) -> None:
        """Keep what was refused, with the reasons."""
        refusals = [say.Refusal(body, msgspec.json.encode(issues)) for body, issues in rows]
        self._noted(await self._writer.ask(say.Quarantine(refusals, *sender, at)))

    async def publish(
        self, note: bytes, *, size: int, at: int, cosigned: bool, stays: bool
    ) -> None:
        """Keep a signed checkpoint (see `contract.Storage.publish`)."""
        await self._writer.ask(say.Publish(size, at, cosigned, note, stays))

    async def erase(self, entries: Sequence[int], *, cause: int) -> None:
        """Erase the events of these entries (see `contract.Storage.erase`)."""
        await self._writer.ask(say.Erase(list(entries), cause))

    async def shred(self, month: Month) -> None:
        """Destroy the data key of a month for ever."""
        await self._writer.ask(say.Shred(month.number))

    async def purge(self) -> None:
        """Let nothing of what was erased stay in the files."""
        await self._writer.ask(say.Purge())

    async def rename(self, *, origin: str, keys: str) -> None:
        """Set the log's name and the history of its keys."""
        await self._writer.ask(say.Rename({"origin": origin.encode(), "keys": keys.encode()}))
        self.origin, self.keys = origin, keys

    async def adopt(self, identity: Identity, page_key: bytes) -> None:
        """Become another log (see `contract.Storage.adopt`)."""
        names = {"log": identity.log, "tag-key": identity.tag_key, "page-key": page_key}
        await self._writer.ask(say.Rename(names))

    async def graft(self, start: int, entries: Sequence[Sealed]) -> Tree:
        """Add entries of another log (see `contract.Storage.graft`)."""
        rows: list[say.Row] = []
        gone: list[say.Gone] = []
        for one in entries:
            if one.record is None:
                assert one.cause is not None
                received = Entry.decode(one.data).received
                gone.append(say.Gone(one.entry, received, one.data, one.cause))
            else:
                assert one.salt is not None
                rows.append(_row(prepare(one.record, salt=one.salt), one.entry))
        return self._noted(await self._writer.ask(say.Graft(start, rows, gone)))

    async def retire(self, successor: str) -> None:
        """Note that the log goes on in another store."""
        await self._writer.ask(say.Rename({MOVED: successor.encode()}))

    @property
    def quarantine_full(self) -> bool:
        """Tell whether nothing more is kept of what is refused."""
        return self._quarantined > QUARANTINE_BYTES_MAX


def _row(event: Pending, entry: int) -> say.Row:
    record = event.record
    return say.Row(
        key_of(event.bucket, entry),
        entry,
        record.id,
        record.received,
        record.producer,
        record.organisation,
        record.kind,
        record.form,
        int(record.flags),
        event.irregular,
        event.fingerprint,
        event.salt,
        record.body,
        event.number,
    )
