"""What the interactions need of a store. SQLite is the first; a second one implements the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from caretrail.clinic.filters import Filter
    from caretrail.clinic.indexing import Row

T = TypeVar("T")


class Version(NamedTuple):
    """One version of a resource: what was done, when, and the JSON that came of it.

    `updated` is in milliseconds since 1970. A deleted resource has no body. `row` is the store's
    own number of the resource, and 0 before it is stored.
    """

    kind: str
    id: str
    number: int
    updated: int
    method: str
    body: bytes
    row: int = 0

    @property
    def is_deleted(self) -> bool:
        """Tell whether this version says that the resource is no more."""
        return not self.body


class SortKey(NamedTuple):
    """One key of the order of results: what it is filed under, and of which kind it is."""

    key: str
    kind: str
    descending: bool


class Search(NamedTuple):
    """Which resources, of which types (none for all), in which order, from where on, how many.

    `after` is the place of the last resource of the page before.
    """

    kinds: tuple[str, ...]
    filter: Filter
    sort: tuple[SortKey, ...] = ()
    limit: int = 0
    after: tuple[Any, ...] | None = None


class Hit(NamedTuple):
    """A resource that fits, and its place in the order."""

    version: Version
    place: tuple[Any, ...]


class Past(NamedTuple):
    """Whose history: of one resource, of a type, or (both empty) of all; newest first.

    `since` is in milliseconds since 1970, `before` the place of the last version of the page before.
    """

    kind: str = ""
    id: str = ""
    since: int = 0
    before: int | None = None
    limit: int = 0


class Session(Protocol):
    """One transaction. Nothing in it is seen by others before it ends, and then all of it."""

    def current(self, kind: str, name: str) -> Version | None:
        """Return the latest version of a resource, which may be that it is deleted."""

    def version(self, kind: str, name: str, number: int) -> Version | None:
        """Return one version of a resource."""

    def put(self, version: Version, rows: Sequence[Row]) -> None:
        """Make this the latest version of its resource, and these rows all that finds it."""

    def search(self, search: Search) -> list[Hit]:
        """Return the resources that fit. Raises TooCostlyError when it takes too long."""

    def count(self, search: Search) -> int:
        """Return how many fit, on all pages. Raises TooCostlyError when it takes too long."""

    def history(self, past: Past) -> list[tuple[Version, int]]:
        """Return versions and their places, newest first."""

    def history_count(self, past: Past) -> int:
        """Return how many versions there are on all pages."""

    def referred(self, rows: Sequence[int], key: str, kind: str, limit: int) -> list[Version]:
        """Return the resources to which these refer by a parameter ("" for any) and of a type."""

    def referring(self, rows: Sequence[int], key: str, limit: int) -> list[Version]:
        """Return the resources that refer to these by a parameter."""


class Store(Protocol):
    """Where the resources are."""

    key: bytes

    async def read(self, ask: Callable[[Session], T]) -> T:
        """Return what `ask` finds; it sees the store as it is at one moment."""

    async def write(self, change: Callable[[Session], T]) -> T:
        """Return what `change` returns, once what it has put is durable.

        When it raises, nothing of it is kept. Changes happen one after the other.
        """

    async def close(self) -> None:
        """End what is begun, and let go of the store."""
