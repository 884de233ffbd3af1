"""Administration: who there is, what each role may do, and which settings are in force.

It only shows: changes are made by `caretrail access`, and each leaves its event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from caretrail.access.roles import ROLES
from caretrail.console.rendering import Page

if TYPE_CHECKING:
    from caretrail.console.asking import Asking


async def administration(asking: Asking) -> Page:
    """Make the page; no event is on it."""
    lists = await asking.inventory() if asking.inventory is not None else {}
    data: dict[str, Any] = {
        "lists": lists,
        "roles": [
            {
                "title": one.title,
                "sees": str(one.sees),
                "may": sorted(one.interactions),
                "excludes": sorted(one.excludes),
            }
            for one in ROLES
        ],
    }
    return Page("administration", "Administration", data)
