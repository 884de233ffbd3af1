"""Turns at the event loop: many requests that come at once must not keep the disk waiting.

What is parsed and prepared holds the loop. Were all that has arrived worked off in one go, the
answer of the store's writer would lie unread so long, and the writer idle: the two would take
turns instead of working side by side. So only a few events are worked off between two looks at
the sockets.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

T = TypeVar("T")

# At most so many events are worked off in one turn, and so many turns between two looks.
TURN_EVENTS: Final = 8
_TURNS: Final = 4


class Turns:
    """Who may work now, first come, first served. For one event loop."""

    def __init__(self) -> None:
        self._left = _TURNS
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def take(self) -> None:
        """Return when it is the caller's turn; it lasts until the caller awaits again."""
        loop = asyncio.get_running_loop()
        if self._left > 0 and not self._waiting:
            if self._left == _TURNS:
                loop.call_soon(self._begin)
            self._left -= 1
            return
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append(turn)
        await turn

    async def each(self, items: Iterable[T]) -> AsyncIterator[T]:
        """Yield the items; each few are a turn."""
        for number, item in enumerate(items):
            if number % TURN_EVENTS == 0:
                await self.take()
            yield item

    def _begin(self) -> None:
        """Let the next ones work; the loop has looked at the sockets since."""
        self._left = _TURNS
        while self._waiting and self._left > 0:
            turn = self._waiting.popleft()
            if not turn.done():  # Else its client has gone.
                turn.set_result(None)
                self._left -= 1
        if self._left < _TURNS:
            asyncio.get_running_loop().call_soon(self._begin)
