"""An Audit Record Repository that takes the tokens of one issuer, whose keys are here."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import httpx
from joserfc import jwt
from joserfc.jwk import OKPKey

from caretrail.access.admission import Admission, Share
from caretrail.access.bearer import Issuer, JwtVerifier
from caretrail.access.decision import Gate
from caretrail.access.jwks import HeldKeys
from caretrail.access.projection import Disclosure
from caretrail.api.auditing import Auditing
from caretrail.transport.asgi import Application
from tests.api.arr import TOKEN, Arr, Published

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ISSUER = "https://auth.test/realm"
AUDIENCE = "http://arr.test/fhir"
KEY = OKPKey.generate_key("Ed25519", {"kid": "one", "use": "sig"})
LOG_USED = "110101"

# A token of each role, as its issuer would give it.
CLAIMS: dict[str, dict[str, Any]] = {
    "source": {"sub": "ehr", "client_id": "ehr", "scope": "system/AuditEvent.c"},
    "auditor": {"sub": "ann", "roles": ["auditor"], "scope": "openid user/AuditEvent.rs"},
    "privacy-officer": {"sub": "pia", "roles": ["privacy-officer"], "scope": "user/AuditEvent.rs"},
    "security-officer": {"sub": "sam", "roles": ["security-officer"], "scope": "user/AuditEvent.rs"},
    "administrator": {"sub": "ada", "roles": ["administrator"], "scope": "user/AuditEvent.rs"},
    "patient": {"sub": "pat", "patient": "p1", "scope": "launch/patient patient/AuditEvent.rs"},
    "ombudsperson": {"sub": "oto", "roles": ["ombudsperson"], "patient": "p1", "scope": "patient/AuditEvent.rs"},
    "external-auditor": {"sub": "eve", "roles": ["external-auditor"], "scope": "user/AuditEvent.rs?patient=Patient/p1"},
    "nobody": {"sub": "none", "roles": [], "scope": "openid profile"},
}  # fmt: skip


def claims(**others: Any) -> dict[str, Any]:
    """Return claims that are good now, with others as given; None leaves one out."""
    now = int(time.time())
    found = {"iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + 600, "jti": "id-1"}
    found |= {"client_id": "console"} | others
    return {name: value for name, value in found.items() if value is not None}


def signed(content: dict[str, Any], *, key: Any = KEY, **header: Any) -> str:
    """Return the claims as a token."""
    found = {"alg": "Ed25519", "typ": "at+jwt", "kid": "one"} | header
    named = {name: value for name, value in found.items() if value is not None}
    return jwt.encode(named, content, key, algorithms=[str(found["alg"])])


def token_of(role: str, **others: Any) -> str:
    """Return a token of somebody in that role."""
    return signed(claims(**(CLAIMS[role] | others)))


def gate(
    *, shares: Sequence[Share] = (), disclosure: Disclosure = Disclosure.ROLE, **rest: Any
) -> Gate:
    """Return a gate that takes tokens of the issuer, and the folder's token."""
    issuer = Issuer(ISSUER, (AUDIENCE,), HeldKeys(lambda: {"keys": [KEY.as_dict(private=False)]}))
    admission = Admission(base=AUDIENCE, disclosure=disclosure, shares=shares)
    return Gate(TOKEN, verifiers=[JwtVerifier([issuer])], admission=admission, **rest)


class Guarded(Arr):
    """An Arr with that gate, whose reads are recorded."""

    def __init__(self, folder: Path, *, guard: Gate | None = None, **settings: Any) -> None:
        super().__init__(folder)
        self.guarded(guard, **settings)

    def guarded(self, guard: Gate | None, **settings: Any) -> None:
        self.auditing = Auditing(self.repository)
        self.service = self.service._replace(
            gate=guard or gate(), auditing=self.auditing, **settings
        )
        self.application = Application(self.service)
        self.runner.run(self.client.aclose())
        transport = httpx.ASGITransport(self.application, client=("192.0.2.7", 5))
        self.client = httpx.AsyncClient(transport=transport, base_url="http://arr.test")

    def ask(self, role: str, path: str, **claims: Any) -> httpx.Response:
        """Ask as somebody in that role."""
        return self.request("GET", path, token=token_of(role, **claims))

    def uses(self) -> list[dict[str, Any]]:
        """Return the events of uses of the log, oldest first, without leaving one."""
        return [one for one in self.everything() if one["type"]["code"] == LOG_USED]

    def everything(self) -> list[dict[str, Any]]:
        """Return all events of the log, oldest first."""
        return self.runner.run(self._everything())

    async def _everything(self) -> list[dict[str, Any]]:
        size = self.repository.size
        records = await self.repository.look(lambda reads: list(reads.entries(0, size)))
        return [json.loads(record.body) for record in records]

    def filed(self, organisation: str, content: dict[str, Any]) -> httpx.Response:
        """Record an event as a source of that organisation."""
        return self.request(
            "POST",
            "/fhir/AuditEvent",
            token=token_of("source", organisation=organisation),
            json=content,
            headers={"Content-Type": "application/fhir+json"},
        )


class GuardedPublished(Guarded, Published):
    """The same that signs and exports."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        Published.__init__(self, folder)
        self.guarded(None, **settings)


def details(event: dict[str, Any]) -> dict[str, str]:
    """Return the details of an event's first entity."""
    return {row["type"]: row["valueString"] for row in event["entity"][0]["detail"]}
