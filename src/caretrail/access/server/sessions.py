"""Sessions of browsers: a random cookie, of which the hash is kept, and what it is good for.

A browser gets another cookie whenever it is trusted more, so that one that somebody else has
planted is worth nothing (session fixation).
"""

from __future__ import annotations

import hmac
import secrets
from typing import TYPE_CHECKING, Final, NamedTuple

from caretrail.access.server.store import hashed

if TYPE_CHECKING:
    import sqlite3

    from caretrail.access.server.store import Act

# How far a browser has come: nothing is known; the password was right; the second factor has to be
# set up; everything is done.
NOBODY: Final = "nobody"
PASSWORD: Final = "password"  # noqa: S105  (a level)
ENROL: Final = "enrol"
FULL: Final = "full"

# A sign-in that is under way is given up after so long; one that is done ends after a shift.
_UNDERWAY_SECONDS: Final = 15 * 60
_LIFE_SECONDS: Final = 12 * 3600
_REQUEST_SECONDS: Final = 15 * 60


class Session(NamedTuple):
    """A browser; `secret` is a second factor that is being set up, `request` what it came for."""

    hash: bytes
    csrf: str
    person: str | None
    level: str
    begun: int
    seen: int
    secret: str
    request: str

    def has(self, csrf: str) -> bool:
        """Tell whether a form is one that this session was given."""
        return hmac.compare_digest(self.csrf.encode(), csrf.encode())


def _session(row: sqlite3.Row) -> Session:
    return Session(*row)


def begin(
    act: Act, *, level: str = NOBODY, person: str | None = None, request: str = ""
) -> tuple[Session, str]:
    """Return a new session, and the cookie that it is known by."""
    cookie = secrets.token_urlsafe(32)
    session = Session(
        hashed(cookie), secrets.token_urlsafe(32), person, level, act.now, act.now, "", request
    )
    act.do(
        "INSERT INTO session (hash, csrf, person, level, begun, seen, secret, request)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        *session,
    )
    return session, cookie


def rise(act: Act, session: Session, *, level: str, person: str) -> tuple[Session, str]:
    """Return the session that takes another's place once more is known of the browser."""
    end(act, session)
    new, cookie = begin(act, level=level, person=person, request=session.request)
    for table in ("request", "consent"):
        act.do(
            f"UPDATE {table} SET session = ? WHERE session = ?",  # noqa: S608  (our own names)
            *(new.hash, session.hash),
        )
    return new, cookie


def of(act: Act, cookie: str) -> Session | None:
    """Return the session of a cookie, also one that has expired."""
    row = act.one("SELECT * FROM session WHERE hash = ?", hashed(cookie))
    return _session(row) if row is not None else None


def is_over(session: Session, *, now: int, idle_seconds: int) -> bool:
    """Tell whether a session was idle, or went on, for too long."""
    if session.level != FULL:
        return now - session.begun >= _UNDERWAY_SECONDS
    return now - session.seen >= idle_seconds or now - session.begun >= _LIFE_SECONDS


def touch(act: Act, session: Session) -> None:
    """Note that somebody is there."""
    touch_by(act, session.hash)


def touch_by(act: Act, key: bytes) -> None:
    """Note that somebody is there, in the session of a hash, if there is one."""
    act.do("UPDATE session SET seen = ? WHERE hash = ?", act.now, key)


def end(act: Act, session: Session) -> None:
    """Forget a session."""
    act.do("DELETE FROM session WHERE hash = ?", session.hash)


def every_over(act: Act, *, idle_seconds: int) -> list[Session]:
    """Return all sessions that are over."""
    found = [_session(row) for row in act.every("SELECT * FROM session")]
    return [one for one in found if is_over(one, now=act.now, idle_seconds=idle_seconds)]


def of_person(act: Act, person: str) -> list[Session]:
    """Return all sessions of a person."""
    return [_session(row) for row in act.every("SELECT * FROM session WHERE person = ?", person)]


def keep_secret(act: Act, session: Session, secret: str) -> None:
    """Keep a second factor until it has been shown that the app knows it."""
    act.do("UPDATE session SET secret = ? WHERE hash = ?", secret, session.hash)


def keep_request(act: Act, session: Session, query: str) -> str:
    """Keep an authorization request for after the sign-in; return its id."""
    number = secrets.token_urlsafe(16)
    act.do(
        "INSERT INTO request (id, session, query, expires) VALUES (?, ?, ?, ?)",
        *(number, session.hash, query, act.now + _REQUEST_SECONDS),
    )
    act.do("UPDATE session SET request = ? WHERE hash = ?", number, session.hash)
    return number


def request_of(act: Act, session: Session, number: str) -> str | None:
    """Return the authorization request of an id, if it is this session's."""
    row = act.one(
        "SELECT query FROM request WHERE id = ? AND session = ? AND expires >= ?",
        *(number, session.hash, act.now),
    )
    return str(row["query"]) if row is not None else None


def drop_request(act: Act, number: str) -> None:
    """Forget an authorization request: it was answered."""
    act.do("DELETE FROM request WHERE id = ?", number)
