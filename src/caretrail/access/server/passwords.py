"""Passwords: Argon2id by argon2-cffi (RFC 9106), and what a new one has to be."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from caretrail.errors import InvalidError, ThrottledError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

# NIST SP 800-63B: length counts, rules of composition do not; 64 characters at least are allowed.
CHARACTERS_MIN: Final = 12
_CHARACTERS_MAX: Final = 256
_DISTINCT_MIN: Final = 5
# Whoever tries names that are not there waits as long as for those that are: a hash of the same
# parameters, which nothing fits.
_OF_NOBODY: Final = (
    "$argon2id$v=19$m=65536,t=3,p=4$9bYE1tLPvNE638CKPaON0Q"
    "$n7RSzA9xoipN3P+tOuRvsch6H3r84uLSncMrARox1xQ"
)
# Each takes 64 MiB for a moment (RFC 9106, 4: three passes, the choice where memory is not plenty).
_AT_ONCE: Final = 2
_WAITING_MAX: Final = 32


class Passwords:
    """Hashes and checks passwords beside the event loop, two at a time."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=3, memory_cost=65_536, parallelism=4)
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="password")
        self._waiting = 0

    async def hash(self, password: str) -> str:
        """Return what is kept of a password."""
        return await self._beside(lambda: self._hasher.hash(password))

    async def fits(self, password: str, kept: str | None) -> bool:
        """Tell whether a password is the one; it takes as long where there is none to compare."""
        if len(password) > _CHARACTERS_MAX:
            password, kept = "", None

        def compare() -> bool:
            try:
                self._hasher.verify(kept or _OF_NOBODY, password)
            except (VerifyMismatchError, VerificationError, InvalidHashError):
                return False
            return kept is not None

        return await self._beside(compare)

    async def _beside(self, work: Callable[[], T]) -> T:
        if self._waiting >= _WAITING_MAX:
            raise ThrottledError("too many sign in at once: try again")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Let go of the threads."""
        self._threads.shutdown()


def check_new(password: str, *, name: str) -> None:
    """Raise InvalidError when a new password can be guessed too easily."""
    if len(password) < CHARACTERS_MIN:
        raise InvalidError(f"the password needs at least {CHARACTERS_MIN} characters")
    if len(password) > _CHARACTERS_MAX:
        raise InvalidError(f"the password may have {_CHARACTERS_MAX} characters")
    if len(set(password)) < _DISTINCT_MIN:
        raise InvalidError("the password repeats itself too much")
    if name.lower() in password.lower():
        raise InvalidError("the password must not contain the user name")
