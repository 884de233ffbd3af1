"""By what right somebody asked: an OAuth access token or a SAML assertion (BALP 5.4, 6).

A whole token is never a part of it: an id, or the last characters of a token that nobody reads.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from caretrail.patterns.codes import BASIC_AUDIT, Code, purpose

if TYPE_CHECKING:
    from collections.abc import Iterable

# BALP OAUTHaccessTokenUse.Opaque: at most so many characters from a token's end.
OPAQUE_CHARACTERS: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Organization:
    """The organization that the user works for, as a token names it."""

    value: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentToken:
    """A consent that a token carries: document id, policy, patient (IHE BPPC and XUA)."""

    document: str
    policy: str | None = None
    patient: str | None = None
    home_community: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential(ABC):
    """What both kinds of credentials say of their user; `id` is the token's or assertion's."""

    id: str  # "" where it has none: the event then meets no profile of token use.
    issuer: str | None = None
    subject: str | None = None
    name: str | None = None
    organization: Organization | None = None
    roles: tuple[Code, ...] = ()
    purposes: tuple[Code, ...] = ()
    npi: str | None = None
    provider: str | None = None  # The id of a provider that is no NPI.
    home_community: str | None = None
    consent: ConsentToken | None = None
    # Identifiers are enough for a reader who can look them up (BALP: minimal is to be preferred).
    comprehensive: bool = False

    @property
    @abstractmethod
    def profile(self) -> str:
        """The BALP profile that an event with this credential may claim."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuthToken(Credential):
    """An access token whose claims are known; `id` is its jti (RFC 7519, IUA)."""

    client: str | None = None
    launch_patient: str | None = None  # SMART: the token is for this patient's data.

    @property
    def profile(self) -> str:
        """BALP OAUTHaccessTokenUse.Minimal or .Comprehensive."""
        return f"{BASIC_AUDIT}OAUTHaccessTokenUse.{_level(self.comprehensive)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpaqueToken(Credential):
    """An access token that nobody here reads; `id` is its end (BALP 5.1)."""

    @property
    def profile(self) -> str:
        """BALP OAUTHaccessTokenUse.Opaque."""
        return f"{BASIC_AUDIT}OAUTHaccessTokenUse.Opaque"


@dataclass(frozen=True, slots=True, kw_only=True)
class SamlAssertion(Credential):
    """A SAML assertion (IHE XUA); `issuer` and `subject` are Issuer and Subject.NameID."""

    assurance: Code | None = None
    subject_id: str | None = None

    @property
    def profile(self) -> str:
        """BALP SAMLaccessTokenUse.Minimal or .Comprehensive."""
        return f"{BASIC_AUDIT}SAMLaccessTokenUse.{_level(self.comprehensive)}"


def opaque(token: str) -> OpaqueToken:
    """Return what may be recorded of a token that is not understood: its last 32 characters.

    Of a token that has no more than these half is left out, so that it is never there whole.
    """
    return OpaqueToken(id=token[-min(OPAQUE_CHARACTERS, (len(token) + 1) // 2) :])


def token_of(claims: Mapping[str, Any], *, comprehensive: bool = False) -> OAuthToken:
    """Return the token of these *verified* claims (BALP 5.4, SMART App Launch, RFC 9068).

    Claims of an unverified token must not come here: an event would name whom a forger likes.
    """
    iua, bppc = (_mapping(_mapping(claims, "extensions"), name) for name in ("ihe_iua", "ihe_bppc"))
    return OAuthToken(
        id=_text(claims, "jti") or "",
        issuer=_text(claims, "iss"),
        subject=_text(claims, "sub"),
        client=_text(claims, "client_id") or _text(claims, "azp"),
        launch_patient=_text(claims, "patient"),
        name=_text(iua, "subject_name") or _text(claims, "name"),
        organization=_organization(iua),
        roles=tuple(_codes(iua.get("subject_role"))),
        purposes=tuple(_codes(iua.get("purpose_of_use") or claims.get("purpose_of_use"))),
        npi=_text(iua, "national_provider_identifier"),
        provider=_text(iua, "person_id"),
        consent=_consent(bppc, _text(iua, "home_community_id")),
        comprehensive=comprehensive,
    )


def _level(comprehensive: bool) -> str:
    return "Comprehensive" if comprehensive else "Minimal"


def _mapping(claims: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = claims.get(name)
    return value if isinstance(value, Mapping) else {}


def _text(claims: Mapping[str, Any], name: str) -> str | None:
    value = claims.get(name)
    return str(value) if isinstance(value, str | int) and str(value) else None


def _organization(iua: Mapping[str, Any]) -> Organization | None:
    name, value = _text(iua, "subject_organization"), _text(iua, "subject_organization_id")
    return Organization(value=value, name=name or value) if value else None


def _consent(bppc: Mapping[str, Any], home_community: str | None) -> ConsentToken | None:
    document = _text(bppc, "doc_id")
    if document is None:
        return None
    return ConsentToken(
        document=document,
        policy=_text(bppc, "acp"),
        patient=_text(bppc, "patient_id"),
        home_community=home_community,
    )


def _codes(value: Any) -> Iterable[Code]:
    """Yield codes out of a claim: Codings, or plain codes of ActReason; one or a list."""
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, str) and item:
            yield purpose(item)
        elif isinstance(item, Mapping) and (code := _text(item, "code")):
            yield Code(_text(item, "system") or "", code, _text(item, "display") or "")
