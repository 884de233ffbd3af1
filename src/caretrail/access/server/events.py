"""Every act of the authorization server as an AuditEvent of the log's own (DESIGN, decision 12)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlencode

from msgspec.structs import replace

from caretrail.access.server.people import Person
from caretrail.fhir.temporal import format_instant
from caretrail.patterns import authorization_server, security
from caretrail.patterns.codes import JTI, Code, purpose
from caretrail.patterns.credential import token_of
from caretrail.patterns.log_use import ROLE_SYSTEM
from caretrail.patterns.observation import (
    Machine,
    Observation,
    User,
    identified,
    reference,
)
from caretrail.patterns.own import ORIGIN_SYSTEM

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from caretrail.access.server.clients import Client
    from caretrail.patterns.observation import Json

# A user of the machine, as its operating system says.
ACCOUNT_SYSTEM: Final = "urn:caretrail:system-account"
# What a request to the token endpoint may say in the log: everything else is a secret, or unknown.
_TELLING: Final = ("grant_type", "client_id", "scope", "redirect_uri", "client_assertion_type")
_SIGN_IN: Final = "caretrail-sign-in"
_COMMAND: Final = "caretrail-access"
DENIED, FAILED = "4", "8"
_TEXT_MAX: Final = 200


class Seen(NamedTuple):
    """From where and when something was asked: an address, and milliseconds since 1970."""

    address: str
    at: int


class Events:
    """Makes the events of one server; its observer is the log, by its origin."""

    def __init__(self, *, origin: str, issuer: str, organisation: str) -> None:
        self._issuer = issuer
        self._server = Machine(
            who=identified(origin, system=ORIGIN_SYSTEM), address=issuer, address_type="5"
        )
        self._organisation = organisation

    # People.

    def signed_in(self, seen: Seen, person: Person, *, by: str) -> Json:
        """Login; `by` says what proved who it is."""
        return security.login(self._seen(seen, person, text=by))

    def not_signed_in(self, seen: Seen, person: Person | None, *, reason: str) -> Json:
        """Login that failed; somebody who is not known here is not named."""
        return security.login(self._seen(seen, person, outcome=DENIED, text=reason))

    def signed_out(self, seen: Seen, person: Person, *, reason: str) -> Json:
        """Logout, also of a session that was idle for too long."""
        return security.logout(self._seen(seen, person, text=reason))

    def locked(self, seen: Seen, person: Person) -> Json:
        """Lock-out: nobody can sign in with this account for a while."""
        return security.user_attributes_changed(
            self._seen(seen, None), account=self._account(person), before="open", after="locked"
        )

    def changed(
        self,
        seen: Seen,
        actor: Person | str,
        before: Person | None,
        after: Person,
        *,
        what: str,
    ) -> Json:
        """Account added or changed; other roles are a change of roles. `what` says more.

        `actor` is a person, or the account on this machine that ran the command.
        """
        was = before.state if before is not None else "none"
        make = (
            security.roles_changed
            if before is not None and before.roles != after.roles
            else security.user_attributes_changed
        )
        return make(
            self._acting(seen, actor),
            account=self._account(after),
            before=was,
            after=f"{after.state}; {what}",
        )

    def override(
        self, seen: Seen, person: Person, *, patient: str, started: bool, reason: str
    ) -> Json:
        """Emergency access to a patient's data started or stopped, with the reason."""
        observed = replace(self._seen(seen, person, patient=patient), purposes=(purpose("BTG"),))
        return security.emergency_override(observed, started=started, reason=reason)

    # Clients, keys and tokens.

    def configured(
        self, seen: Seen, actor: str, *, what: str, action: str, before: str, after: str
    ) -> Json:
        """Client or signing key added (C), changed (U) or switched off (D)."""
        return authorization_server.configuration_changed(
            self._acting(seen, actor),
            what=identified(what),
            action=action,
            before=before,
            after=after,
        )

    def token_issued(
        self,
        seen: Seen,
        client: Client,
        person: Person | None,
        form: Mapping[str, str],
        *,
        claims: Mapping[str, Any],
    ) -> Json:
        """Token issued or refreshed: IUA ITI-71, with the request, of which secrets are left out."""
        text = f"{form.get('grant_type', '')}: {claims['scope']} ({JTI}{claims['jti']})"
        observed = self._seen(seen, person, client=client.id, claims=claims, form=form, query=text)
        return security.token_request(observed)

    def token_refused(
        self,
        seen: Seen,
        client_id: str | None,
        person: Person | None,
        form: Mapping[str, str],
        *,
        reason: str,
        endpoint: str = "token",
    ) -> Json:
        """Client refused: in the shape of ITI-71, which is about successes only."""
        observed = self._seen(
            seen, person, client=client_id, outcome=DENIED, text=reason, query=reason
        )
        asked = self._request(form, endpoint)
        return security.token_request(replace(observed, query=asked))

    def token_revoked(
        self,
        seen: Seen,
        client: str,
        person: Person | None,
        *,
        tokens: Sequence[str],
        reason: str,
        outcome: str = "0",
    ) -> Json:
        """Tokens revoked, by their client, at logout, or because one was used twice."""
        observed = self._seen(seen, person, client=client, outcome=outcome, text=reason)
        return authorization_server.token_revoked(observed, tokens=tuple(tokens), reason=reason)

    def introspected(self, seen: Seen, client: Client, claims: Mapping[str, Any] | None) -> Json:
        """Introspection: a client asked whether a token is good."""
        observed = self._seen(seen, None, client=client.id, claims=claims or {})
        return authorization_server.token_introspected(observed, active=claims is not None)

    def launched(self, seen: Seen, client: Client, *, launch: str, patient: str) -> Json:
        """SMART launch: an EHR opened another application for a patient."""
        observed = self._seen(seen, None, client=client.id, patient=patient)
        return authorization_server.launched(observed, launch=launch)

    def decided(
        self,
        seen: Seen,
        client: Client,
        person: Person,
        *,
        consent: str,
        patient: str,
        permitted: bool,
        scope: str,
    ) -> Json:
        """Consent decision: BALP AuthZconsent for a patient's data, AuthZ-Role for any other."""
        outcome, text = ("0", scope) if permitted else (FAILED, "the person refused")
        observed = self._seen(
            seen, person, client=client.id, patient=patient, outcome=outcome, text=text
        )
        name = person.organisation or self._organisation or self._issuer
        organization = identified(name, display=name)
        if patient:
            return security.consent_decision(
                observed, organization=organization, consent=identified(consent)
            )
        return authorization_server.role_decision(
            observed, organization=organization, consent=consent
        )

    def _seen(
        self,
        seen: Seen,
        person: Person | None,
        *,
        client: str | None = None,
        claims: Mapping[str, Any] | None = None,
        form: Mapping[str, str] | None = None,
        query: str | None = None,
        patient: str = "",
        outcome: str = "0",
        text: str | None = None,
    ) -> Observation:
        return Observation(
            recorded=format_instant(seen.at),
            client=Machine(who=identified(_plain(client or _SIGN_IN)), address=seen.address),
            server=self._server,
            user=self._user(person) if person is not None else None,
            credential=token_of(claims) if claims else None,
            patient=reference(f"Patient/{patient}") if patient else None,
            query=self._request(form) if form is not None else None,
            query_text=query,
            outcome=outcome,
            outcome_text=text,
        )

    def _acting(self, seen: Seen, actor: Person | str) -> Observation:
        """Return what a person does here, or somebody by a command on this machine."""
        if isinstance(actor, Person):
            return self._seen(seen, actor)
        name = _plain(actor)
        user = User(who=identified(name, system=ACCOUNT_SYSTEM), name=name)
        return replace(self._seen(seen, None, client=_COMMAND), user=user)

    def _account(self, person: Person) -> Json:
        return identified(person.id, system=self._issuer, display=person.display)

    def _user(self, person: Person) -> User:
        roles = tuple(Code(ROLE_SYSTEM, role) for role in person.roles)
        return User(who=self._account(person), name=person.display, roles=roles)

    def _request(self, form: Mapping[str, str], endpoint: str = "token") -> bytes:
        """Return the request as it came, without the values of what is secret (BALP 7)."""
        rows = [(name, form[name] if name in _TELLING else "-") for name in form]
        told = [(_plain(name), _plain(value)) for name, value in rows]
        return f"POST {self._issuer}/{endpoint}\n\n{urlencode(told)}".encode()


def _plain(text: str) -> str:
    """Return a text that a stranger sent, as short as an event may hold it."""
    kept = "".join(letter for letter in text if letter.isprintable())[:_TEXT_MAX]
    return kept.strip() or "unknown"
