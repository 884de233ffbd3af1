"""Sources that show a client certificate (ITI-19): pinned, or of a certification authority's name.

That the certificate is genuine, and not expired, the TLS handshake has found out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

from caretrail.access.identity import Identity
from caretrail.access.roles import BY_CODE
from caretrail.access.view import of_producer
from caretrail.limits import CREDENTIALS_REMEMBERED

if TYPE_CHECKING:
    from collections.abc import Sequence


class Registered(NamedTuple):
    """A source by its certificate: `fingerprint` (SHA-256, hex) or `subject`, its common name.

    `producer` and `organisation` are written beside its events, `observer` is the only recorder
    that they may name, "" for any.
    """

    producer: str
    organisation: str = ""
    fingerprint: str = ""
    subject: str = ""
    observer: str = ""


class Certificates:
    """The sources that are known by certificates."""

    def __init__(self, rows: Sequence[Registered]) -> None:
        self._pinned = {row.fingerprint: row for row in rows if row.fingerprint}
        self._named = {row.subject: row for row in rows if row.subject}
        self._found: dict[str, Identity | None] = {}

    def find(self, certificate: str) -> Identity | None:
        """Return the source whose certificate this is, in PEM; None for "" and for others'."""
        if not certificate:
            return None
        if certificate not in self._found:
            if len(self._found) >= CREDENTIALS_REMEMBERED:
                self._found.clear()
            self._found[certificate] = self._looked_up(certificate)
        return self._found[certificate]

    def _looked_up(self, certificate: str) -> Identity | None:
        try:
            parsed = x509.load_pem_x509_certificate(certificate.encode())
        except ValueError:
            return None
        fingerprint = parsed.fingerprint(SHA256()).hex()
        row = self._pinned.get(fingerprint)
        if row is None:
            names = parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
            row = self._named.get(str(names[0].value)) if len(names) == 1 else None
        if row is None:
            return None
        source = BY_CODE["source"]
        view = of_producer(row.producer, row.organisation or "")
        return Identity(
            row.producer,
            row.organisation,
            dict.fromkeys(source.interactions, view),
            subject=row.producer,
            token_id=f"sha256:{fingerprint}",
            roles=(source.code,),
            observer=row.observer,
        )
