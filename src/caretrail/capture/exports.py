"""Which addresses belong to an export: the server makes them up (FHIR Bulk Data Access)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from caretrail.limits import EXPORT_ADDRESSES_MAX
from caretrail.patterns import results

if TYPE_CHECKING:
    from caretrail.patterns.exchange import Exchange

_STATUS: Final = "export-status"
_FILE: Final = "export-file"
_LISTS: Final = ("output", "deleted", "error")


class ExportAddresses:
    """Learns from answers to `$export` where its status and its files are.

    The addresses are known to this process alone: after a restart a poll is an unknown request,
    which is recorded, too.
    """

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def interaction(self, method: str, path: str) -> str:
        """Return the interaction that a request to this absolute path is, or ""."""
        kind = self._known.get(path, "")
        return "export-cancel" if kind == _STATUS and method == "DELETE" else kind

    def learn(self, exchange: Exchange) -> None:
        """Take in the addresses that the answer gives away."""
        if exchange.status == 202 and "$export" in exchange.path:
            self._add(exchange.response.headers.get("content-location", ""), _STATUS)
        elif exchange.interaction == _STATUS and exchange.status == 200:
            manifest = results.tree(exchange.response)
            for name in _LISTS:
                rows = manifest.get(name) if isinstance(manifest, dict) else None
                for row in rows if isinstance(rows, list) else ():
                    if isinstance(row, dict):
                        self._add(str(row.get("url") or ""), _FILE)

    def _add(self, url: str, kind: str) -> None:
        path = urlsplit(url).path if url else ""
        if not path:
            return
        while len(self._known) >= EXPORT_ADDRESSES_MAX:
            del self._known[next(iter(self._known))]
        self._known[path] = kind
