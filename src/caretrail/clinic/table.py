"""THE table of the clinic's interactions: routes, Bundles and documents are read from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from caretrail.api.router import captures_of
from caretrail.clinic import instance, listing
from caretrail.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable

    from caretrail.api.http import Request, Response
    from caretrail.clinic.work import Work


class Row(NamedTuple):
    """One row: a method and a path below the base, in which a part in braces stands for any text.

    `body` names the limit of the body; without one it is not read.
    """

    method: str
    path: str
    perform: Callable[[Work, Request], Response]
    what: str
    body: str = ""
    writes: bool = False

    @property
    def letter(self) -> str:
        """Return the letter of a SMART scope that allows it."""
        if self.what.startswith("search"):
            return "s"
        return {"GET": "r", "PUT": "u", "PATCH": "u", "DELETE": "d"}.get(
            self.method, "c" if self.writes else "r"
        )


# Of two rows that fit a path the first one counts.
ROWS: Final = (
    Row("GET", "", listing.search_system, "search-system"),
    Row("POST", "_search", listing.search_system, "search-system", "form"),
    Row("GET", "_history", listing.history_system, "history-system"),
    Row("POST", "{type}/_search", listing.search_type, "search-type", "form"),
    Row("GET", "{type}/_history", listing.history_type, "history-type"),
    Row("GET", "{type}", listing.search_type, "search-type"),
    Row("POST", "{type}", instance.create, "create", "resource", writes=True),
    Row("PUT", "{type}", instance.update_conditional, "conditional-update", "resource", writes=True),
    Row("PATCH", "{type}", instance.patch_conditional, "conditional-patch", "resource", writes=True),
    Row("DELETE", "{type}", instance.delete_conditional, "conditional-delete", writes=True),
    Row("GET", "{type}/{id}", instance.read, "read"),
    Row("PUT", "{type}/{id}", instance.update, "update", "resource", writes=True),
    Row("PATCH", "{type}/{id}", instance.patch, "patch", "resource", writes=True),
    Row("DELETE", "{type}/{id}", instance.delete, "delete", writes=True),
    Row("GET", "{type}/{id}/_history", listing.history_instance, "history-instance"),
    Row("GET", "{type}/{id}/_history/{version}", instance.vread, "vread"),
    Row("GET", "Patient/{id}/$everything", listing.everything, "$everything"),
    Row("POST", "Patient/{id}/$everything", listing.everything, "$everything", "form"),
    Row("GET", "Patient/{id}/{type}", listing.search_compartment, "search-compartment"),
    Row("POST", "Patient/{id}/{type}/_search", listing.search_compartment, "search-compartment", "form"),
)  # fmt: skip


_PATTERNS: Final = tuple((row, tuple(row.path.split("/"))) for row in ROWS)


def find(method: str, path: str) -> tuple[Row, tuple[str, ...]]:
    """Return the row of a request in a Bundle and what stands in its braces, or raise."""
    parts = path.split("/")
    for row, wanted in _PATTERNS:
        if row.method != method or len(wanted) != len(parts):
            continue
        captures = captures_of(wanted, parts)
        if captures is not None:
            return row, captures
    raise NotFoundError("there is nothing at this address for that method")
