"""Tokens: access tokens as JWTs (RFC 9068), id tokens (OpenID Connect), refresh tokens by hash.

All tokens that follow from one consent are a family: what ends it ends them all.
"""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from caretrail.access.server import granting, people
from caretrail.access.server.store import hashed

if TYPE_CHECKING:
    import sqlite3

    from caretrail.access.server.clients import Client
    from caretrail.access.server.desk import Desk
    from caretrail.access.server.people import Person
    from caretrail.access.server.store import Act

ACCESS: Final = "at+jwt"
ID: Final = "JWT"
# RFC 7009 and 7662 call them so.
ACCESS_TOKEN: Final = "access_token"  # noqa: S105
REFRESH_TOKEN: Final = "refresh_token"  # noqa: S105


class Consent(NamedTuple):
    """What a person let a client do, `patient` being the launch context, "" where there is none.

    `session` is where it was given, `signed_in` when the person had signed in; seconds since 1970.
    """

    id: str
    client: str
    person: str
    session: bytes | None
    scope: str
    patient: str
    given: int
    signed_in: int
    nonce: str
    revoked: bool

    @property
    def outlives_session(self) -> bool:
        """Tell whether the client may go on when the person has left (offline_access)."""
        return granting.OFFLINE in self.scope.split()

    @property
    def may_refresh(self) -> bool:
        """Tell whether the client gets refresh tokens."""
        return self.outlives_session or granting.ONLINE in self.scope.split()


def _consent(row: sqlite3.Row) -> Consent:
    return Consent._make(row)._replace(revoked=bool(row["revoked"]))


def keep_consent(act: Act, consent: Consent) -> None:
    """Keep what a person has agreed to."""
    act.do(
        "INSERT INTO consent (id, client, person, session, scope, patient, given, signed_in,"
        " nonce, revoked) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        *consent[:-1],
        int(consent.revoked),
    )


def consent_of(act: Act, consent_id: str) -> Consent | None:
    """Return a consent by its id."""
    row = act.one("SELECT * FROM consent WHERE id = ?", consent_id)
    return _consent(row) if row is not None else None


class Issued(NamedTuple):
    """The answer to a client, and the claims of the access token in it."""

    answer: dict[str, Any]
    claims: dict[str, Any]


def issue(
    act: Act,
    desk: Desk,
    client: Client,
    *,
    scope: str,
    person: Person | None,
    consent: Consent | None,
    purposes: tuple[str, ...] = (),
) -> Issued:
    """Make the tokens of one answer: for a person's consent, or for the client itself.

    `purposes` are codes of ActReason for which the token is used.
    """
    rules = desk.rules
    claims: dict[str, Any] = {
        "iss": rules.issuer,
        "sub": person.id if person is not None else client.id,
        "aud": rules.audience,
        "client_id": client.id,
        "scope": scope,
        "iat": act.now,
        "exp": act.now + rules.access_seconds,
        "jti": secrets.token_urlsafe(24),
        "roles": list(person.roles if person is not None else client.roles),
    }
    claims |= _about(client, person, consent)
    if purposes:
        claims["purpose_of_use"] = list(purposes)
    answer: dict[str, Any] = {
        "access_token": desk.keys.sign(claims, kind=ACCESS),
        "token_type": "Bearer",
        "expires_in": rules.access_seconds,
        "scope": scope,
    }
    act.do(
        "INSERT INTO access (jti, consent, client, claims, expires) VALUES (?, ?, ?, ?, ?)",
        *(claims["jti"], consent.id if consent is not None else None, client.id),
        *(msgspec.json.encode(claims).decode(), claims["exp"]),
    )
    if consent is not None and person is not None:
        answer |= _beside(act, desk, client, person, consent, answer["access_token"], scope)
    return Issued(answer, claims)


def _about(client: Client, person: Person | None, consent: Consent | None) -> dict[str, Any]:
    organisation = person.organisation if person is not None else client.organisation
    found = {
        "organisation": organisation,
        "patient": consent.patient if consent is not None else "",
        "fhirUser": person.fhir_user if person is not None else "",
        "name": person.display if person is not None else client.name,
    }
    return {name: value for name, value in found.items() if value}


def _beside(
    act: Act,
    desk: Desk,
    client: Client,
    person: Person,
    consent: Consent,
    access: str,
    scope: str,
) -> dict[str, Any]:
    """Return what a person's client gets beside the access token."""
    answer: dict[str, Any] = {}
    if consent.patient:
        answer |= {"patient": consent.patient, "need_patient_banner": True}
    if consent.may_refresh and client.check_grant_type(REFRESH_TOKEN):
        answer["refresh_token"] = _refresh(act, desk, consent)
    if granting.OPENID in scope.split():
        answer["id_token"] = _id_token(act, desk, client, person, consent, access, scope)
    return answer


def _refresh(act: Act, desk: Desk, consent: Consent) -> str:
    token = secrets.token_urlsafe(32)
    # However often it is exchanged, a family ends when its time is over.
    end = consent.given + desk.rules.refresh_seconds
    act.do(
        "INSERT INTO refresh (hash, consent, issued, expires) VALUES (?, ?, ?, ?)",
        *(hashed(token), consent.id, act.now, end),
    )
    return token


def _id_token(
    act: Act,
    desk: Desk,
    client: Client,
    person: Person,
    consent: Consent,
    access: str,
    scope: str,
) -> str:
    half = sha256(access.encode()).digest()[:16]
    claims: dict[str, Any] = {
        "iss": desk.rules.issuer,
        "sub": person.id,
        "aud": client.id,
        "iat": act.now,
        "exp": act.now + desk.rules.access_seconds,
        "auth_time": consent.signed_in,
        "at_hash": urlsafe_b64encode(half).rstrip(b"=").decode(),
        "amr": ["pwd", "otp"] if person.has_totp else ["pwd"],
    }
    if consent.nonce:
        claims["nonce"] = consent.nonce
    if "profile" in scope.split():
        claims |= {"name": person.display, "preferred_username": person.name}
    if "fhirUser" in scope.split() and person.fhir_user:
        claims["fhirUser"] = person.fhir_user
    return desk.keys.sign(claims, kind=ID)


class Token(NamedTuple):
    """A token that was presented. It answers what Authlib's TokenMixin asks."""

    kind: str
    client: str
    claims: dict[str, Any]
    consent: Consent | None
    jti: str
    expires: int
    revoked: bool
    now: int

    def check_client(self, client: Client) -> bool:
        """Tell whether the token was issued to this client."""
        return self.client == client.id

    def get_scope(self) -> str:
        """Return the scopes of the token."""
        return str(self.claims.get("scope", ""))

    def is_expired(self) -> bool:
        """Tell whether the token's time is over."""
        return self.expires <= self.now

    def is_revoked(self) -> bool:
        """Tell whether the token was revoked, by itself or with its family."""
        return self.revoked or (self.consent is not None and self.consent.revoked)


def look(act: Act, desk: Desk, text: str) -> Token | None:
    """Return the token that a text is, whether it is still good or not."""
    claims = desk.keys.claims(text, kind=ACCESS)
    if claims is not None:
        row = act.one("SELECT * FROM access WHERE jti = ?", claims.get("jti"))
        if row is None:
            return None
        consent = consent_of(act, row["consent"]) if row["consent"] is not None else None
        revoked = bool(row["revoked"])
        return Token(
            ACCESS_TOKEN,
            row["client"],
            claims,
            consent,
            row["jti"],
            row["expires"],
            revoked,
            act.now,
        )
    row = act.one("SELECT * FROM refresh WHERE hash = ?", hashed(text))
    consent = consent_of(act, row["consent"]) if row is not None else None
    if row is None or consent is None:
        return None
    known = {"client_id": consent.client, "scope": consent.scope, "sub": consent.person}
    return Token(
        REFRESH_TOKEN,
        consent.client,
        known,
        consent,
        "",
        row["expires"],
        bool(row["used"]),
        act.now,
    )


def revoke(act: Act, desk: Desk, *, consents: tuple[str, ...] = (), jti: str = "") -> list[str]:
    """End families, or one access token; return the ids of the access tokens that this ended."""
    found: list[str] = []
    for consent in consents:
        act.do("UPDATE consent SET revoked = 1 WHERE id = ?", consent)
        act.do("DELETE FROM code WHERE consent = ? AND used = 0", consent)
        found += _ended(act, "consent = ?", consent)
    if jti:
        found += _ended(act, "jti = ?", jti)
    # Should the act fail after this, tokens are refused that are good: the safe side.
    desk.revoked.update(found)
    return found


def _ended(act: Act, which: str, value: str) -> list[str]:
    rows = act.every(
        f"UPDATE access SET revoked = 1 WHERE {which} AND revoked = 0 AND expires > ?"  # noqa: S608
        " RETURNING jti",
        *(value, act.now),
    )
    return [row["jti"] for row in rows]


def consents_of(act: Act, which: str, value: object) -> tuple[str, ...]:
    """Return the ids of consents in force, by their `person`, `client` or `session`."""
    assert which in ("person", "client", "session")
    rows = act.every(
        f"SELECT id FROM consent WHERE {which} = ? AND revoked = 0",  # noqa: S608  (see above)
        value,
    )
    return tuple(row["id"] for row in rows)


def end_of_client(act: Act, desk: Desk, client_id: str) -> list[str]:
    """End everything that a client holds; return the ids of access tokens."""
    found = revoke(act, desk, consents=consents_of(act, "client", client_id))
    found += _ended(act, "client = ?", client_id)
    desk.revoked.update(found)
    return found


def end_of_session(act: Act, desk: Desk, session: bytes) -> list[str]:
    """End what was to last as long as a session; return the ids of access tokens."""
    consents = consents_of(act, "session", session)
    lasting = [consent_of(act, one) for one in consents]
    ended = tuple(one.id for one in lasting if one is not None and not one.outlives_session)
    return revoke(act, desk, consents=ended)


def person_of(act: Act, consent: Consent) -> Person | None:
    """Return the person of a consent, unless the account is closed."""
    person = people.get(act, consent.person)
    return person if person is not None and person.active else None


def load_revoked(act: Act, desk: Desk) -> None:
    """Learn which tokens were revoked and would be valid otherwise; forget those that are over."""
    rows = act.every("SELECT jti FROM access WHERE revoked = 1 AND expires > ?", act.now)
    found = {row["jti"] for row in rows}
    # Whoever checks a token does so beside this thread: none is ever missing in between.
    desk.revoked.update(found)
    desk.revoked.intersection_update(found)
