"""What goes into a bundle, gathered entry by entry, and never more than a bundle may hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caretrail.errors import TooLargeError
from caretrail.limits import EXPORT_BUNDLE_BYTES_MAX
from caretrail.tlog.entry import Entry, Mac, tag
from caretrail.tlog.evidence import Disclosed, Redacted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from caretrail.storage.contract import Sealed

# Beside the entry and the content: a salt in hex, two indexes, names of members.
_ROW_BYTES = 160


class Teller:
    """Tells which entries are about subjects, by their tags (entry format)."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = [Mac(key) for key in keys]

    def is_about(self, data: bytes) -> bool:
        """Tell whether this entry has the tag of one of the subjects."""
        entry = Entry.decode(data)
        return any(tag(key, entry.event) in entry.tags for key in self._keys)


class Gathered:
    """Entries, what is disclosed of them, and what was erased.

    `chosen` says by its number whether an entry is disclosed, and nothing is then said of what was
    erased; `about` says it by its tags. Without both every entry is.
    """

    def __init__(
        self, chosen: Callable[[int], bool] | None, *, about: Teller | None = None
    ) -> None:
        self.entries: list[bytes] = []
        self.disclosed: list[Disclosed] = []
        self.redacted: list[Redacted] = []
        self.shown: set[int] = set()
        self.unproved = 0
        self._chosen, self._about = chosen, about
        self._bytes = 0

    def judged(self, sealed: Iterable[Sealed]) -> list[tuple[Sealed, bool]]:
        """Return each entry and whether it is disclosed; this may run in another thread."""
        if self._chosen is not None:
            return [(one, self._chosen(one.entry)) for one in sealed]
        about = self._about
        return [(one, about is None or about.is_about(one.data)) for one in sealed]

    def take(self, rows: Iterable[tuple[Sealed, bool]]) -> None:
        """Add entries; raise TooLargeError when they are too many."""
        for sealed, is_shown in rows:
            self.entries.append(sealed.data)
            self._count(len(sealed.data))
            if not is_shown:
                continue
            if sealed.record is not None:
                self.disclose(sealed)
            elif sealed.cause is not None and self._chosen is None:
                self.redacted.append(Redacted(sealed.entry, sealed.cause))

    def disclose(self, sealed: Sealed) -> None:
        """Show the content of an entry."""
        assert sealed.record is not None
        assert sealed.salt is not None
        self.disclosed.append(Disclosed(sealed.entry, sealed.record.body, sealed.salt))
        self.shown.add(sealed.entry)
        self._count(len(sealed.record.body) + _ROW_BYTES)

    def drop_redactions(self, rows: Iterable[Redacted]) -> None:
        """Say nothing of these: what proves them is not covered."""
        gone = set(rows)
        self.redacted = [one for one in self.redacted if one not in gone]
        self.unproved += len(gone)

    def _count(self, size: int) -> None:
        self._bytes += size
        if self._bytes > EXPORT_BUNDLE_BYTES_MAX:
            raise TooLargeError(
                "the bundle would be too large: cover less, by a start and an end, or by a search"
                " that finds fewer events"
            )
