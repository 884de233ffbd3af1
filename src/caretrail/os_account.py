"""Who runs this process, as the operating system says: all that a command knows of its user."""

from __future__ import annotations

import os
import pwd
from typing import NamedTuple


class Account(NamedTuple):
    """A user of the machine; behind `sudo` it is the one who called it."""

    name: str
    number: int


def current() -> Account:
    """Return the account of this process. Root can pretend to be anybody (see the how-to)."""
    number = os.getuid()
    asked = os.environ.get("SUDO_UID", "")
    if number == 0 and asked.isdecimal() and len(asked) < 11:
        number = int(asked)
    try:
        return Account(pwd.getpwuid(number).pw_name, number)
    except (KeyError, OverflowError):  # An account of a container that has no name.
        return Account(f"uid {number}", number)
