"""What a feed hands on, and what a receiver of any kind promises."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from caretrail.errors import Error, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence


class Item(NamedTuple):
    """An event on its way: its entry in the log, its id there, `recorded`, and what is sent of it.

    `received` is when the log took it, in milliseconds since 1970. `is_own` is what the log says of
    itself.
    """

    entry: int
    id: str
    recorded: str
    received: int
    body: bytes
    is_own: bool = False


class Refused(NamedTuple):
    """An item that a receiver will never take, and its status or code for that."""

    item: Item
    why: str


class LaterError(UnavailableError):
    """The receiver asks to be left alone for so many seconds (0 for some)."""

    def __init__(self, said: str, seconds: float = 0.0) -> None:
        super().__init__(said)
        self.seconds = seconds


class RefusedError(Error):
    """The receiver refuses the items for what they are, and does not say which of them."""


class Receiver(Protocol):
    """One receiver of one feed."""

    async def send(self, items: Sequence[Item]) -> Sequence[Refused]:
        """Hand on items, in order; return those that it refuses for good: it has all others.

        Raises RefusedError when it takes none and does not say for which one's sake, and
        UnavailableError when it cannot be told whether it has them: they are sent again then.
        """

    async def close(self) -> None:
        """Let go of the connection."""
