"""From the claims of a credential that has been verified to an identity with its grants.

Both have to agree: a role says which interactions somebody's work needs, and the scopes of the
token say what of that this token is for. Roles that nobody may have together grant nothing.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import parse_qsl

from caretrail import tenants
from caretrail.access import projection, roles, scopes
from caretrail.access.identity import CLINIC_BUNDLE, Identity
from caretrail.access.projection import Disclosure
from caretrail.access.roles import CLINIC, INTERACTIONS, ROLES, Role, Sees
from caretrail.access.view import EVERYTHING, NOTHING, View, of_organisation, of_producer
from caretrail.errors import ParameterError
from caretrail.limits import SEARCH_VALUES_MAX
from caretrail.patterns.codes import (
    APPLICATION_ACTIVITY,
    AUDIT_LOG_USED,
    SECURITY_ALERT,
    USER_AUTHENTICATION,
)
from caretrail.search import query as search_query
from caretrail.search.parameters import BY_CODE
from caretrail.search.query import Clause
from caretrail.search.reference import Value as ReferenceValue
from caretrail.search.token import Value as TokenValue

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from caretrail.access.scopes import Scope

_ID: Final = re.compile(r"[A-Za-z0-9.-]{1,64}")
# A claim that is longer is nobody's name.
_TEXT_MAX: Final = 256
# What says nothing that the projection would not show.
_OF_PATIENT: Final = frozenset(
    ["date", "_lastUpdated", "_id", "action", "type", "subtype", "outcome", "purpose", "patient"]
)
_OF_SECURITY: Final = frozenset(
    ["date", "_lastUpdated", "_id", "_tag", "_profile", "action", "type", "subtype", "outcome",
     "purpose", "agent", "agent-name", "agent-role", "agent.identifier", "altid", "address",
     "policy", "site", "source", "source.identifier", "user", "flag", "sequence"]
)  # fmt: skip
_SECURITY_TYPES: Final = (
    APPLICATION_ACTIVITY,
    AUDIT_LOG_USED,
    SECURITY_ALERT,
    USER_AUTHENTICATION,
)
_NO_LOG_USE: Final = Clause(
    BY_CODE["type"], (TokenValue(AUDIT_LOG_USED.system, AUDIT_LOG_USED.code),), negated=True
)


class Share(NamedTuple):
    """What an external auditor is shown: the events that a search finds, until an instant.

    `ends` is in seconds since 1970, `issuer` may be "" for any.
    """

    subject: str
    issuer: str
    query: str
    ends: float


class Admission:
    """Makes identities; `base` is the FHIR base, against which scopes with a search are read."""

    def __init__(
        self,
        *,
        base: str,
        disclosure: Disclosure = Disclosure.ROLE,
        shares: Sequence[Share] = (),
        tenant: str | None = None,
    ) -> None:
        """Admit to one of several logs: a tenant's, "" for the default one, or None for the only."""
        self._tenant = tenant
        self._base, self._disclosure, self._shares = base, disclosure, tuple(shares)

    @property
    def base(self) -> str:
        """Return the FHIR base that tokens are for."""
        return self._base

    def admit(
        self, claims: Mapping[str, Any], *, now: float, producer: str = ""
    ) -> tuple[Identity, float | None]:
        """Return who has these *verified* claims, and until when at the longest.

        They are those of RFC 9068, with `roles`, `organisation`, `patient`, `fhirUser` and `name`.
        Claims that are missing or odd grant nothing. Events are filed under `producer`, without
        one under the subject at its issuer.
        """
        issuer, client = _text(claims, "iss"), _text(claims, "client_id") or _text(claims, "azp")
        granted = scopes.parse(_scope(claims))
        is_system = bool(granted) and all(one.context == "system" for one in granted)
        subject = (client if is_system else "") or _text(claims, "sub") or client
        producer = producer or f"{subject}@{issuer.partition('://')[2] or issuer}"
        organisation = _text(claims, "organisation")
        share = self._share(subject, issuer, now)
        work = _Work(claims, granted, producer, organisation, share)
        codes = _codes(claims, granted)
        identity = Identity(
            producer,
            organisation if organisation != "*" else "",
            self._grants(codes, work) if self._is_for_us(claims) else {},
            issuer,
            subject,
            client,
            _text(claims, "name"),
            _text(claims, "fhirUser"),
            _text(claims, "jti"),
            tuple(sorted(codes)),
            _observer(claims),
        )
        return identity, share.ends if share is not None else None

    def _is_for_us(self, claims: Mapping[str, Any]) -> bool:
        """Tell whether a token is for this log and not for another one behind the same port.

        Its audience says so, or its claim `tenant`; without both it is for the default log.
        """
        audiences = _texts(claims, "aud")
        if self._tenant is None or self._base in audiences:
            return True
        named = _texts(claims, "tenant")
        if self._tenant:
            return self._tenant in named
        others = self._base.rpartition("/")[0] + tenants.path("")
        return not named and not any(one.startswith(others) for one in audiences)

    def _share(self, subject: str, issuer: str, now: float) -> Share | None:
        for one in self._shares:
            if one.subject == subject and one.issuer in ("", issuer) and one.ends > now:
                return one
        return None

    def _grants(self, codes: frozenset[str], work: _Work) -> Mapping[str, View]:
        grants: dict[str, View] = {}
        if not roles.conflicts(codes):
            for role in ROLES:
                if role.code in codes:
                    self._grant(role, work, grants)
        letters = scopes.over_all_types(work.scopes)
        grants |= {CLINIC[letter]: EVERYTHING for letter in letters}
        if letters.issuperset(CLINIC):
            grants[CLINIC_BUNDLE] = EVERYTHING
        return grants

    def _grant(self, role: Role, work: _Work, grants: dict[str, View]) -> None:
        """Add what the role may do by the scopes of its contexts, where no other role did."""
        own = [one for one in work.scopes if one.is_of_events and one.context in role.contexts]
        seen = self._seen(role, work)
        if seen is None:
            return
        for name in role.interactions:
            queries = [_restriction(letter, own) for letter in INTERACTIONS[name].letters]
            if None in queries:
                continue
            narrowing = tuple(dict.fromkeys(query for query in queries if query))
            is_whole = role.sees is Sees.SHARE and work.share is None and not narrowing
            if is_whole and queries:
                continue  # Everything is nobody's share.
            view = NOTHING if is_whole else self._narrowed(seen, narrowing)
            if view is not None:
                grants.setdefault(name, view)

    def _seen(self, role: Role, work: _Work) -> View | None:
        """Return what is there for the role, None where the claims do not say it."""
        whole = of_organisation(work.organisation)
        match role.sees:
            case Sees.ALL:
                return whole
            case Sees.OWN:
                return of_producer(work.producer, work.organisation)
            case Sees.NOTHING:
                return NOTHING
            case Sees.SECURITY:
                return _of_security(whole)
            case Sees.SHARE:
                if work.share is None:
                    return whole
                return self._narrowed(whole, (work.share.query,))
            case Sees.COMPARTMENT:
                patient = _text(work.claims, "patient").removeprefix("Patient/")
                return self._of_patient(whole, patient) if _ID.fullmatch(patient) else None

    def _narrowed(self, view: View, queries: Iterable[str]) -> View | None:
        for text in queries:
            try:
                clauses = restriction(text, base=self._base)
            except ParameterError:
                return None
            view = view.also(clauses, text)
        return view

    def _of_patient(self, whole: View, patient: str) -> View:
        own = ReferenceValue(None, "Patient", patient, None)
        view = whole.also((Clause(BY_CODE["patient"], (own,)), _NO_LOG_USE), f"patient {patient}")
        return View(
            view.clauses,
            view.binding,
            parameters=_OF_PATIENT,
            projection=projection.of_patient(patient, self._disclosure),
            patient=own,
        )


class _Work(NamedTuple):
    claims: Mapping[str, Any]
    scopes: tuple[Scope, ...]
    producer: str
    organisation: str
    share: Share | None


def restriction(text: str, *, base: str) -> tuple[Clause, ...]:
    """Return the clauses of a scope's search, or raise ParameterError.

    What shapes a page is no part of it, and neither is a parameter that is not known: less must not
    be meant than is said.
    """
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=SEARCH_VALUES_MAX)
    except ValueError as error:
        raise ParameterError("the scope has too many parameters") from error
    found = search_query.parse(pairs, strict=True, base=base)
    if len(found.clauses) != len(pairs):
        raise ParameterError("a scope is narrowed by search parameters with values alone")
    return found.clauses


def _restriction(letter: str, granted: Iterable[Scope]) -> str | None:
    """Return the search that a letter is narrowed to, "" for none; None where it is not granted.

    Of several narrow scopes an event would have to fit any, which a search cannot say: they grant
    nothing. A create cannot be narrowed.
    """
    found = {one.query for one in granted if letter in one.letters}
    if "" in found:
        return ""
    return found.pop() if len(found) == 1 and letter != "c" else None


def _of_security(whole: View) -> View:
    types = tuple(TokenValue(one.system, one.code) for one in _SECURITY_TYPES)
    clauses = (Clause(BY_CODE["type"], types), Clause(BY_CODE["patient"], (), missing=True))
    view = whole.also(clauses, "security")
    return View(
        view.clauses,
        view.binding,
        parameters=_OF_SECURITY,
        projection=projection.of_security,
    )


def _codes(claims: Mapping[str, Any], granted: Iterable[Scope]) -> frozenset[str]:
    """Return the roles that the token names, or, without any, those that its scopes imply."""
    named = claims.get("roles")
    if isinstance(named, str):
        named = named.split(" ")
    if isinstance(named, list):
        known = frozenset(one for one in named if isinstance(one, str) and one in roles.BY_CODE)
        if known:
            return known
    implied = set()
    for one in granted:
        if one.is_of_events and one.context == "patient":
            implied.add("patient")
        elif one.is_of_events and one.context == "system":
            implied |= {"source"} if "c" in one.letters else set()
            implied |= {"auditor"} if one.letters & {"r", "s"} else set()
    return frozenset(implied)


def _scope(claims: Mapping[str, Any]) -> str:
    """Return the claim `scope`; some issuers write `scp`, or a list."""
    value = claims.get("scope", claims.get("scp", ""))
    if isinstance(value, list):
        return " ".join(one for one in value if isinstance(one, str))
    return value if isinstance(value, str) else ""


def _observer(claims: Mapping[str, Any]) -> str:
    """Return the device that a source says it is: the only recorder that it may name."""
    reference = _text(claims, "fhirUser")
    return reference if "Device/" in reference else ""


def _texts(claims: Mapping[str, Any], name: str) -> frozenset[str]:
    """Return the texts of a claim that is one, or a list of them."""
    found = claims.get(name)
    many = found if isinstance(found, list | tuple) else (found,)
    return frozenset(one for one in many if isinstance(one, str) and one)


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    is_text = isinstance(value, str) and len(value) <= _TEXT_MAX and value.isprintable()
    return value if is_text and isinstance(value, str) else ""
