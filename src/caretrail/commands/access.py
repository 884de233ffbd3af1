"""A change of users, clients or keys: by the server that runs on the folder, or else here."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

import msgspec

from caretrail import opening
from caretrail.access.server.application import AuthorizationServer
from caretrail.access.server.desk import Rules
from caretrail.access.server.store import connect
from caretrail.errors import ConfigurationError, InUseError, InvalidError

if TYPE_CHECKING:
    import sqlite3

    from caretrail.access.server.administration import Change
    from caretrail.settings import Settings

_WAIT_SECONDS: Final = 60.0
_STEP_SECONDS: Final = 0.05


async def ask(settings: Settings, change: Change) -> list[str]:
    """Have a change made; return what there is to say of it.

    A running server makes it, as it alone writes to the log; without one it is made here. Raises
    InvalidError and the like where it cannot be made, ConfigurationError where nobody answers.
    """
    if not settings.folder.exists():
        raise ConfigurationError(
            f"there is no data folder {settings.folder}: choose another --data, or start a server"
        )
    try:
        async with opening.opened(settings) as log:
            server = AuthorizationServer(
                settings.folder,
                Rules(base=_base(settings)),
                record=log.repository.record_own,
                origin=log.repository.origin,
                organisation=settings.organisation,
            )
            try:
                return await server.change(change)
            finally:
                await server.close()
    except InUseError:
        return await asyncio.to_thread(_ask_server, settings, change)


def _base(settings: Settings) -> str:
    """Return where the server will be, as far as the settings tell, for links."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return settings.public_url.rstrip("/") or f"http://{host}:{settings.port}"


def _ask_server(settings: Settings, change: Change) -> list[str]:
    with closing(connect(settings.folder)) as database:
        text = msgspec.json.encode(change).decode()
        number = database.execute(
            "INSERT INTO change (asked, made) VALUES (?, ?)", (text, int(time.time()))
        ).lastrowid
        assert number is not None
        reply = _wait(database, number)
    if reply is None:
        raise ConfigurationError(
            "the process that works on this folder makes no changes: is its authorization server"
            " on? Otherwise stop it, and try again"
        )
    if "problem" in reply:
        raise InvalidError(reply["problem"])
    return list(reply["lines"])


def _wait(database: sqlite3.Connection, number: int) -> dict[str, Any] | None:
    """Return the server's answer, and leave nothing of the change behind, answered or not."""
    end, reply = time.monotonic() + _WAIT_SECONDS, None
    while reply is None and time.monotonic() < end:
        time.sleep(_STEP_SECONDS)
        row = database.execute("SELECT answer FROM change WHERE number = ?", (number,)).fetchone()
        reply = msgspec.json.decode(row["answer"]) if row["answer"] is not None else None
    database.execute("DELETE FROM change WHERE number = ?", (number,))
    return reply
