"""The file of identities: issuers, introspection, certificates and shares, in TOML.

It holds no secret; it names the files that do. Everything is checked at the start, and what is not
known is refused: a name that was misspelt must not open or close anything by itself.
"""

from __future__ import annotations

import re
import tomllib
from datetime import datetime  # noqa: TC003 - msgspec reads the annotations
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from caretrail.access.admission import Share, restriction
from caretrail.access.bearer import TYPES, Issuer, JwtVerifier
from caretrail.access.certificates import Certificates, Registered
from caretrail.access.introspection import Endpoint, Introspection
from caretrail.access.jwks import RemoteKeys
from caretrail.access.roles import BY_CODE
from caretrail.errors import ConfigurationError, ParameterError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from caretrail.access.admission import Admission
    from caretrail.access.decision import Verifier
    from caretrail.access.identity import Identity

_FINGERPRINT: Final = re.compile(r"[0-9a-f]{64}")
_OURS: Final = "caretrail:"


class _Row(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    pass


class _Issuer(_Row, frozen=True, kw_only=True):
    url: str
    audiences: tuple[str, ...] = ()
    jwks: str = ""
    types: tuple[str, ...] = TYPES
    roles_claim: str = "roles"
    organisation_claim: str = "organisation"
    organisation: str = ""


class _Introspection(_Row, frozen=True, kw_only=True):
    url: str
    client_id: str
    secret_file: str
    issuer: str
    audiences: tuple[str, ...] = ()
    roles_claim: str = "roles"
    organisation_claim: str = "organisation"
    organisation: str = ""


class _Certificate(_Row, frozen=True, kw_only=True):
    producer: str
    organisation: str = ""
    sha256: str = ""
    subject: str = ""
    observer: str = ""
    tenant: str = ""


class _Share(_Row, frozen=True, kw_only=True):
    subject: str
    query: str
    ends: datetime
    issuer: str = ""
    tenant: str = ""


class _File(_Row, frozen=True, kw_only=True):
    issuer: tuple[_Issuer, ...] = ()
    introspection: tuple[_Introspection, ...] = ()
    certificate: tuple[_Certificate, ...] = ()
    share: tuple[_Share, ...] = ()


class Identities(NamedTuple):
    """Who may come in, beside the bearer of the data folder's token."""

    verifiers: tuple[Verifier, ...] = ()
    certificates: Certificates | None = None
    shares: tuple[Share, ...] = ()

    @property
    def any(self) -> bool:
        """Tell whether there is anybody."""
        return bool(self.verifiers) or self.certificates is not None


def read(
    text: str, *, base: str, folder: Path, secret: Callable[[Path], str], tenant: str = ""
) -> Identities:
    """Return the identities of a file's text; raise ConfigurationError, which says what to mend.

    `base` is the FHIR base, which tokens are for unless the file says otherwise. Files are named
    relative to `folder`, and `secret` reads one. Certificates and shares are those of `tenant`, ""
    for the default log. Call it in the event loop that will use them.
    """
    try:
        rows = msgspec.convert(tomllib.loads(text), _File, strict=True)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigurationError(f"the file of identities: {error}") from error
    verifiers: list[Verifier] = []
    if rows.issuer:
        verifiers.append(JwtVerifier([_issuer(row, base) for row in rows.issuer]))
    verifiers += (_introspection(row, base, folder, secret) for row in rows.introspection)
    registered = [_registered(row) for row in rows.certificate if row.tenant == tenant]
    shares = tuple(_share(row, base) for row in rows.share if row.tenant == tenant)
    return Identities(tuple(verifiers), Certificates(registered) if registered else None, shares)


def holder(codes: str, *, producer: str, organisation: str, admission: Admission) -> Identity:
    """Return what the bearer of the data folder's token is, by a list of roles with commas.

    Raises ConfigurationError for a role that does not exist.
    """
    named = [one.strip() for one in codes.split(",") if one.strip()]
    if not set(named) <= BY_CODE.keys():
        raise ConfigurationError(f"--token-roles are some of {', '.join(BY_CODE)}, or all")
    claims = {
        "client_id": producer,
        "roles": named,
        "scope": "system/AuditEvent.crs user/AuditEvent.rs",
        "organisation": organisation or "*",
        "aud": admission.base,
    }
    identity, _ = admission.admit(claims, now=0, producer=producer)
    return identity._replace(subject="", client="")


def _issuer(row: _Issuer, base: str) -> Issuer:
    return Issuer(
        row.url,
        row.audiences or (base,),
        RemoteKeys(row.url, address=row.jwks),
        tuple(one.lower() for one in row.types),
        row.roles_claim,
        row.organisation_claim,
        row.organisation,
    )


class _NoKeys:
    """The keys of an issuer that is only asked."""

    async def find(self, _: str | None) -> None:
        return None

    async def close(self) -> None:
        return None


def _introspection(
    row: _Introspection, base: str, folder: Path, secret: Callable[[Path], str]
) -> Introspection:
    issuer = Issuer(
        row.issuer,
        row.audiences or (base,),
        _NoKeys(),
        (),
        row.roles_claim,
        row.organisation_claim,
        row.organisation,
    )
    endpoint = Endpoint(row.url, row.client_id, secret(folder / row.secret_file))
    return Introspection(endpoint, issuer)


def _registered(row: _Certificate) -> Registered:
    fingerprint = row.sha256.replace(":", "").lower()
    if bool(fingerprint) == bool(row.subject):
        raise ConfigurationError("a certificate is known by its sha256, or by its subject's name")
    if fingerprint and not _FINGERPRINT.fullmatch(fingerprint):
        raise ConfigurationError("a certificate's sha256 has 64 hexadecimal digits")
    if not row.producer or row.producer.startswith(_OURS):
        raise ConfigurationError(f"a certificate's producer has a name, and not one of {_OURS}")
    return Registered(row.producer, row.organisation, fingerprint, row.subject, row.observer)


def _share(row: _Share, base: str) -> Share:
    if row.ends.tzinfo is None:
        raise ConfigurationError("a share ends at an instant with a time zone")
    try:
        clauses = restriction(row.query, base=base)
    except ParameterError as error:
        raise ConfigurationError(f"a share's query: {error}") from error
    if not clauses:
        raise ConfigurationError("a share's query names a patient, a user or a date")
    return Share(row.subject, row.issuer, row.query, row.ends.timestamp())
