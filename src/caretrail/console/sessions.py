"""Sessions of browsers with the console: a random cookie, and what of it is known on the server.

They live in this process's memory alone: after a restart people sign in again, and no credential is
ever written down. A browser gets another cookie when it is trusted more (session fixation).
"""

from __future__ import annotations

import hmac
import secrets
import time
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from caretrail.limits import CONSOLE_SESSIONS_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

    from caretrail.access.relying_party import Begun, Tokens

# A sign-in that is under way is given up after so long; one that is done ends after a shift.
_UNDERWAY_SECONDS: Final = 15 * 60
_LIFE_SECONDS: Final = 12 * 3600


@dataclass(slots=True)
class Session:
    """A browser. `bearer` is the token with which it asks the API, "" where nobody is signed in.

    `tokens` are what the issuer gave, None for the folder's own token. `begun` is a sign-in that
    is under way, `told` when the issuer was told of somebody's presence, `goal` where the browser wanted to go.
    """

    key: str
    since: float
    seen: float
    bearer: str = ""
    tokens: Tokens | None = None
    begun: Begun | None = None
    told: float = 0.0
    goal: str = ""
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(32))

    @property
    def is_signed_in(self) -> bool:
        """Tell whether somebody is signed in."""
        return bool(self.bearer)

    def has(self, csrf: str) -> bool:
        """Tell whether a form is one that this session was given."""
        return hmac.compare_digest(self.csrf.encode(), csrf.encode("utf-8", "replace"))


class Sessions:
    """All sessions of one process."""

    def __init__(self, *, idle_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._idle, self._clock = idle_seconds, clock
        self._held: dict[str, Session] = {}

    def find(self, cookie: str, *, is_present: bool = True) -> Session | None:
        """Return the session of a cookie; None for one that is over.

        Somebody `is_present` who asks by himself: what a page asks for again and again is nobody.
        """
        session = self._held.get(_key(cookie)) if cookie else None
        if session is None:
            return None
        if self._is_over(session):
            self.end(session)
            return None
        if is_present:
            session.seen = self._clock()
        return session

    def begin(self, *, goal: str = "") -> tuple[Session, str]:
        """Return a session in which nobody is signed in, and its cookie."""
        self._make_room()
        cookie, now = secrets.token_urlsafe(32), self._clock()
        session = Session(_key(cookie), now, now, goal=goal)
        self._held[session.key] = session
        return session, cookie

    def rise(
        self, session: Session, *, bearer: str, tokens: Tokens | None = None
    ) -> tuple[Session, str]:
        """Return the session that takes another's place once somebody has signed in."""
        self.end(session)
        new, cookie = self.begin()
        new.bearer, new.tokens = bearer, tokens
        return new, cookie

    def end(self, session: Session) -> None:
        """Forget a session."""
        self._held.pop(session.key, None)

    def _is_over(self, session: Session) -> bool:
        now = self._clock()
        if not session.is_signed_in:
            return now - session.since >= _UNDERWAY_SECONDS
        return now - session.seen >= self._idle or now - session.since >= _LIFE_SECONDS

    def _make_room(self) -> None:
        """Let go of what is over, and then of those without a person, the oldest first."""
        if len(self._held) < CONSOLE_SESSIONS_MAX:
            return
        for one in [one for one in self._held.values() if self._is_over(one)]:
            self.end(one)
        # Several at once, so that not every new one has to look for the next to go.
        waiting = sorted(self._held.values(), key=lambda one: (one.is_signed_in, one.seen))
        more = len(self._held) - CONSOLE_SESSIONS_MAX * 9 // 10
        for one in waiting[: max(0, more)]:
            self.end(one)


def _key(cookie: str) -> str:
    return sha256(cookie.encode("utf-8", "replace")).hexdigest()
