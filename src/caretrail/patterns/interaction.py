"""Which interaction an exchange is: one table of rows (FHIR R4, RESTful API).

A path is reduced to its shape, such as `T/i/_history`: T is a resource type, i an id, $ an
operation. Method and shape find the row.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import unquote

if TYPE_CHECKING:
    from caretrail.patterns.exchange import Exchange


class Interaction(NamedTuple):
    """A row: what rules and documents call it, its pattern in `rest.PATTERNS`, how it is found.

    `asks` says that the raw request is a part of the event: criteria, parameters, or the only
    thing that is known.
    """

    name: str
    pattern: str
    methods: str = ""
    shapes: str = ""
    asks: bool = False
    is_conditional: bool = False


class Target(NamedTuple):
    """What the path names: a type, an instance of it, a compartment's type, an operation."""

    type: str = ""
    id: str = ""
    version: str = ""
    inner: str = ""
    operation: str = ""

    @property
    def reference(self) -> str | None:
        """Return the instance as a relative reference, with its version where one is named."""
        if not self.id:
            return None
        version = f"/_history/{self.version}" if self.version else ""
        return f"{self.type}/{self.id}{version}"


INTERACTIONS: Final = (
    Interaction("read", "read", "GET", "T/i"),
    Interaction("vread", "vread", "GET", "T/i/_history/v"),
    Interaction("create", "create", "POST", "T"),
    Interaction("conditional-create", "create", asks=True, is_conditional=True),
    Interaction("update", "update", "PUT", "T/i"),
    Interaction("conditional-update", "update", "PUT", "T", asks=True, is_conditional=True),
    Interaction("patch", "patch", "PATCH", "T/i"),
    Interaction("conditional-patch", "patch", "PATCH", "T", asks=True, is_conditional=True),
    Interaction("delete", "delete", "DELETE", "T/i"),
    Interaction("conditional-delete", "delete", "DELETE", "T", asks=True, is_conditional=True),
    Interaction("search-type", "search-type", "GET", "T", asks=True),
    Interaction("search-type", "search-type", "POST", "T/_search", asks=True),
    Interaction("search-compartment", "search-type", "GET", "T/i/T", asks=True),
    Interaction("search-compartment", "search-type", "POST", "T/i/T/_search", asks=True),
    Interaction("search-system", "search-system", "GET", "", asks=True),
    Interaction("search-system", "search-system", "POST", "_search", asks=True),
    # A link of a server's own to a page is known by what it brings.
    Interaction("search-page", "search", asks=True),
    Interaction("history-instance", "history-instance", "GET", "T/i/_history", asks=True),
    Interaction("history-type", "history-type", "GET", "T/_history", asks=True),
    Interaction("history-system", "history-system", "GET", "_history", asks=True),
    Interaction("capabilities", "capabilities", "GET", "metadata", asks=True),
    Interaction("operation", "operation", "GET POST", "$ T/$ T/i/$", asks=True),
    Interaction("$import", "import", asks=True),
    # The server gave these addresses in its answers to $export (FHIR Bulk Data Access).
    Interaction("export-status", "operation", asks=True),
    Interaction("export-cancel", "operation", asks=True),
    Interaction("export-file", "export-file"),
    Interaction("batch", "batch", asks=True),
    Interaction("transaction", "transaction", asks=True),
    # A notification of a subscription, sent by the server that records it.
    Interaction("delivery", "delivery"),
    # With an authorization server (`authorization.ENDPOINTS`): its address is known, or usual.
    Interaction("authorize", "authorization"),
    Interaction("token", "authorization"),
    Interaction("revoke", "authorization"),
    Interaction("introspect", "authorization"),
    Interaction("logout", "authorization"),
    Interaction("server-metadata", "authorization"),
    Interaction("unknown", "unknown", asks=True),
)
BY_NAME: Final = {row.name: row for row in INTERACTIONS}
_BY_SHAPE: Final = {
    (method, shape): row
    for row in INTERACTIONS
    for method in row.methods.split()
    for shape in (row.shapes.split() if row.shapes else [""])
}
_CONDITIONAL_CREATE: Final = BY_NAME["conditional-create"]
_OPERATION: Final = BY_NAME["operation"]
_TYPE: Final = re.compile(r"[A-Z][A-Za-z]{1,63}")
# Looked for in bytes, as a Bundle of a thousand entries is read for its entries once.
_BUNDLE_TYPE: Final = re.compile(rb'"type"\s*:\s*"(batch|transaction)"')
_SEARCHSET: Final = re.compile(rb'"type"\s*:\s*"searchset"')


def classify(exchange: Exchange) -> tuple[Interaction, Target]:
    """Return which interaction the exchange is, and what its path names."""
    shape, target = _shape(exchange.path)
    if exchange.interaction:
        return BY_NAME[exchange.interaction], target
    method = "GET" if exchange.method == "HEAD" else exchange.method
    row = _BY_SHAPE.get((method, shape))
    if row is None:
        return _by_body(exchange, shape), target
    if row.name == "create" and "if-none-exist" in exchange.request.headers:
        return _CONDITIONAL_CREATE, target
    if target.operation:
        return _operation(target.operation), target
    return row, target


def name_of(row: Interaction, target: Target) -> str:
    """Return what rules call the interaction: an operation by its own name, such as `$export`."""
    return target.operation if row is _OPERATION else row.name


def _operation(name: str) -> Interaction:
    return BY_NAME.get(name, _OPERATION)


def _by_body(exchange: Exchange, shape: str) -> Interaction:
    if exchange.method == "POST" and not shape:
        found = _BUNDLE_TYPE.search(exchange.request.body)
        return BY_NAME[found[1].decode() if found else "unknown"]
    if exchange.method == "GET" and _SEARCHSET.search(exchange.response.body):
        return BY_NAME["search-page"]
    return BY_NAME["unknown"]


def _shape(path: str) -> tuple[str, Target]:
    first, *rest = path.strip("/").split("/")
    if "%" in path:
        first, *rest = map(unquote, [first, *rest])
    if first.startswith("$"):
        return ("$" if not rest else "?"), Target(operation=first)
    if not _TYPE.fullmatch(first):
        return (
            "/".join([first, *rest]) if first in ("", "metadata", "_history", "_search") else "?"
        ), Target()
    if not rest:
        return "T", Target(first)
    second, *rest = rest
    if second.startswith("$"):
        return ("T/$" if not rest else "?"), Target(first, operation=second)
    if second.startswith("_"):
        return "/".join(["T", second, *rest]), Target(first)
    return _instance(Target(first, second), rest)


def _instance(target: Target, rest: list[str]) -> tuple[str, Target]:
    match rest:
        case []:
            return "T/i", target
        case ["_history"]:
            return "T/i/_history", target
        case ["_history", version]:
            return "T/i/_history/v", target._replace(version=version)
        case [operation] if operation.startswith("$"):
            return "T/i/$", target._replace(operation=operation)
        case [inner, *more] if more in ([], ["_search"]) and (
            inner == "*" or _TYPE.fullmatch(inner)
        ):
            return "/".join(["T/i/T", *more]), target._replace(inner=inner)
    return "?", target
