"""One HTTP exchange between a FHIR client and a server, as an adapter saw it."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from caretrail.patterns.codes import Code
    from caretrail.patterns.credential import Credential
    from caretrail.patterns.observation import Json, Machine, User

# No answer came in time; the one who asked went away; there was no way to the server.
Failure = Literal["", "timeout", "cancelled", "unreachable"]

# Headers that mean something to FHIR; the others, with credentials among them, are not looked at.
REQUEST_HEADERS: Final = (
    "accept",
    "content-type",
    "if-match",
    "if-none-exist",
    "if-none-match",
    "prefer",
)
RESPONSE_HEADERS: Final = ("content-type", "content-location", "etag", "location")


_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Who asked, for whom and why, as far as somebody who may be believed has said so.

    `client` names the application where the credential does not. `launch_patient` is the SMART
    context of a token that is for one patient's data, `reason` what was said to break the glass.
    """

    user: User | None = None
    credential: Credential | None = None
    client: Json | None = None
    organization: Json | None = None
    on_behalf_of: Json | None = None
    purposes: tuple[Code, ...] = ()
    launch_patient: str | None = None
    reason: str | None = None


NOBODY: Final = Identity()


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One half of an exchange: its headers of interest, by lower-case name, and its body.

    `is_whole` is false where more bytes passed than were kept; those that were are the first.
    """

    headers: Mapping[str, str] = _NO_HEADERS
    body: bytes = b""
    is_whole: bool = True


_NO_MESSAGE: Final = Message()


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked, what came of it, between whom and when.

    `path` is relative to the FHIR base and begins without a slash, `query` is what follows the
    question mark as it was received. `status` is 0 where there is no answer, and `failure` then
    says why. `patients` and `interaction` are what the adapter knows better than the URL can say.
    """

    method: str
    path: str
    end: str
    server: Machine
    query: str = ""
    request: Message = _NO_MESSAGE
    response: Message = _NO_MESSAGE
    status: int = 0
    failure: Failure = ""
    address: str = ""
    client: Machine | None = None  # Where it is the one that records, and so is known.
    identity: Identity = NOBODY
    request_id: str | None = None
    trace_id: str | None = None
    site: str | None = None
    by_client: bool = False
    patients: tuple[str, ...] = ()
    interaction: str = ""
    part: str | None = None

    @property
    def succeeded(self) -> bool:
        """Whether an answer came, and it is no error; 304 is as good as the content."""
        return not self.failure and 0 < self.status < 400
