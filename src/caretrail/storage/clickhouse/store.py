"""One log on a cluster of ClickHouse: a process that writes, and readers in every thread."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Final

from caretrail.storage.clickhouse import commits
from caretrail.storage.clickhouse.address import Address
from caretrail.storage.clickhouse.commits import Cuts
from caretrail.storage.clickhouse.proofs import Proofs
from caretrail.storage.clickhouse.properties import Properties
from caretrail.storage.clickhouse.searching import Place, Searcher
from caretrail.storage.clickhouse.servers import Http, Servers
from caretrail.storage.clickhouse.writer import Options
from caretrail.storage.linked import Linked
from caretrail.storage.process import Link

if TYPE_CHECKING:
    from caretrail.storage import messages as say
    from caretrail.storage.contract import LogPlace
    from caretrail.tlog.tree import Tree

_WRITER: Final = "caretrail.storage.clickhouse.writer"


class ClickHouseStorage(Linked):
    """One log on a cluster (see `contract.Storage`); opening it is recovery.

    Reads may come from any thread. They see the log at the size that the writer said last, so that
    whoever got a 201 finds the event.
    """

    _place: Place | None = None

    def __init__(self, place: LogPlace) -> None:
        """Open the log of a place's URL (see `address`), which is made where there is none.

        With `data_keys`, the file of them, bodies and salts are encrypted from now on.
        """
        address = Address.parse(place.url)
        options = Options(place.url, str(place.data_keys or ""))
        super().__init__(Link(_WRITER, options, name=str(place.data)))
        self._servers = Servers(address, Http(address))
        cuts = Cuts.of(commits.epochs(self._servers))
        self._place = Place(self._servers, size=self.found.size, cuts=cuts)
        self._readers = threading.local()
        self._properties = Properties.read(self._servers)
        self.identity = self._properties.identity()
        self.page_key: bytes = self._properties["page-key"]
        self.origin = self._properties["origin"].decode()
        self.keys = self._properties["keys"].decode()
        self.received = self.searcher().received_at(self.found.size - 1) if self.found.size else 0

    def _noted(self, state: say.Answer) -> Tree:
        tree = super()._noted(state)
        if self._place is not None:
            self._place.size = tree.size
        return tree

    async def tree(self) -> Tree:
        """Return the tree as it is in the store, asked anew: what a restart would find."""
        tree = await super().tree()
        assert self._place is not None
        # What an earlier writer left may be void since.
        self._place.cuts = Cuts.of(await asyncio.to_thread(commits.epochs, self._servers))
        return tree

    async def close(self) -> None:
        """Let another process have the log."""
        try:
            await self._writer.close()
        finally:
            self._servers.engine.close()

    def searcher(self) -> Searcher:
        """Return what reads for the calling thread."""
        if not hasattr(self._readers, "searcher"):
            assert self._place is not None
            searcher = Searcher(self._place, self._properties.bodies())
            self._readers.searcher = searcher
            self._readers.proofs = Proofs(searcher, self.identity)
        found: Searcher = self._readers.searcher
        return found

    def proofs(self) -> Proofs:
        """Return what reads the tree for the calling thread."""
        self.searcher()
        found: Proofs = self._readers.proofs
        return found
