"""Clients: the applications that are registered here, as OAuth 2.0 and SMART know them."""

from __future__ import annotations

import hmac
import re
import secrets
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from caretrail.access.server import granting
from caretrail.access.server.people import check_roles
from caretrail.access.server.store import hashed
from caretrail.errors import ConflictError, InvalidError, NotFoundError

if TYPE_CHECKING:
    import sqlite3

    from caretrail.access.server.store import Act

# How a client proves who it is (RFC 7591, 2): by a key, by a secret, or not at all.
METHODS: Final = ("private_key_jwt", "client_secret_basic", "none")
_SECRET_METHODS: Final = ("client_secret_basic", "client_secret_post")
AUTHORIZATION_CODE: Final = "authorization_code"
REFRESH_TOKEN: Final = "refresh_token"  # noqa: S105  (its name)
CLIENT_CREDENTIALS: Final = "client_credentials"
# The last two are ours: a client that may ask about all tokens, and one that may launch others.
INTROSPECT: Final = "introspect"
LAUNCH: Final = "launch"
GRANTS: Final = (AUTHORIZATION_CODE, REFRESH_TOKEN, CLIENT_CREDENTIALS, INTROSPECT, LAUNCH)
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


class Client(NamedTuple):
    """An application. It answers what Authlib's ClientMixin asks."""

    id: str
    name: str
    method: str
    redirect_uris: tuple[str, ...] = ()
    logout_uris: tuple[str, ...] = ()
    grants: tuple[str, ...] = ()
    scope: str = ""
    roles: tuple[str, ...] = ()
    organisation: str = ""
    secret: bytes | None = None
    jwks: str | None = None
    active: bool = True

    @property
    def client_metadata(self) -> dict[str, Any]:
        """Return what OpenID Connect RP-Initiated Logout asks of a registration."""
        return {"post_logout_redirect_uris": list(self.logout_uris)}

    @property
    def state(self) -> str:
        """Return what can be changed of the client, as events say it; no secret is in it."""
        rows = {
            "method": self.method,
            "grants": " ".join(self.grants),
            "scope": self.scope,
            "roles": " ".join(self.roles),
            "organisation": self.organisation,
            "redirect": " ".join(self.redirect_uris),
            "active": str(self.active).lower(),
        }
        return "; ".join(f"{name}={value}" for name, value in rows.items() if value)

    def get_client_id(self) -> str:
        """Return the client's id."""
        return self.id

    def get_default_redirect_uri(self) -> None:
        """Return none: a client says where it wants its answer."""
        return

    def get_allowed_scope(self, scope: str) -> str | None:
        """Return what of the asked-for scopes the client may have; None where that is nothing."""
        return granting.granted(scope or "", self.scope) or None

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        """Tell whether an address is registered, letter by letter (RFC 9700, 4.1.3)."""
        return redirect_uri in self.redirect_uris

    def check_client_secret(self, client_secret: str) -> bool:
        """Compare in a time that does not tell how much of the secret was right."""
        return self.secret is not None and hmac.compare_digest(self.secret, hashed(client_secret))

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:  # noqa: ARG002
        """Tell whether the client may prove itself like this; both ways to send a secret are one."""
        if method in _SECRET_METHODS:
            return self.method in _SECRET_METHODS
        return method == self.method

    def check_response_type(self, response_type: str) -> bool:
        """Tell whether the client may ask people for their consent."""
        return response_type == "code" and AUTHORIZATION_CODE in self.grants

    def check_grant_type(self, grant_type: str) -> bool:
        """Tell whether the client may get tokens like this."""
        return grant_type in self.grants


def _client(row: sqlite3.Row) -> Client:
    return Client(
        row["id"],
        row["name"],
        row["method"],
        tuple(row["redirect_uris"].split()),
        tuple(row["logout_uris"].split()),
        tuple(row["grants"].split()),
        row["scope"],
        tuple(row["roles"].split()),
        row["organisation"],
        row["secret"],
        row["jwks"],
        bool(row["active"]),
    )


def find(act: Act, client_id: str) -> Client | None:
    """Return the client of an id, whether it is active or not."""
    row = act.one("SELECT * FROM client WHERE id = ?", client_id)
    return _client(row) if row is not None else None


def active(act: Act, client_id: str) -> Client | None:
    """Return the client of an id, unless it was switched off."""
    client = find(act, client_id)
    return client if client is not None and client.active else None


def named(act: Act, client_id: str) -> Client:
    """Return the client of an id; raises NotFoundError."""
    client = find(act, client_id)
    if client is None:
        raise NotFoundError("there is no client of this id: `caretrail access clients` lists them")
    return client


def every(act: Act) -> list[Client]:
    """Return all clients, by id."""
    return [_client(row) for row in act.every("SELECT * FROM client ORDER BY id")]


def add(act: Act, **given: Any) -> tuple[Client, str]:
    """Register a client; return it, and its secret, which is kept nowhere.

    Raises InvalidError or ConflictError.
    """
    lists = {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
    client = Client(**given | lists)
    _check(client)
    if find(act, client.id) is not None:
        raise ConflictError("there is a client of this id")
    secret = secrets.token_urlsafe(32) if client.method in _SECRET_METHODS else ""
    client = client._replace(secret=hashed(secret) if secret else None)
    act.do(
        "INSERT INTO client (id, name, method, secret, jwks, redirect_uris, logout_uris, grants,"
        " scope, roles, organisation) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        *(client.id, client.name, client.method, client.secret, client.jwks),
        *(" ".join(client.redirect_uris), " ".join(client.logout_uris), " ".join(client.grants)),
        *(client.scope, " ".join(client.roles), client.organisation),
    )
    return client, secret


def new_secret(act: Act, client: Client) -> str:
    """Give a client another secret and return it; raises InvalidError where it has none."""
    if client.method not in _SECRET_METHODS:
        raise InvalidError("this client has no secret")
    secret = secrets.token_urlsafe(32)
    act.do("UPDATE client SET secret = ? WHERE id = ?", hashed(secret), client.id)
    return secret


def readdress(
    act: Act,
    client: Client,
    *,
    redirect_uris: tuple[str, ...],
    logout_uris: tuple[str, ...],
    scope: str,
) -> Client:
    """Give a client other addresses and another scope; raises InvalidError."""
    changed = client._replace(redirect_uris=redirect_uris, logout_uris=logout_uris, scope=scope)
    if changed == client:
        return client
    _check(changed)
    act.do(
        "UPDATE client SET redirect_uris = ?, logout_uris = ?, scope = ? WHERE id = ?",
        *(" ".join(redirect_uris), " ".join(logout_uris), scope, client.id),
    )
    return changed


def set_active(act: Act, client: Client, *, active: bool) -> Client:
    """Switch a client on or off."""
    act.do("UPDATE client SET active = ? WHERE id = ?", int(active), client.id)
    return client._replace(active=active)


def keys(client: Client) -> KeySet | None:
    """Return the public keys of a client, if it has any."""
    if client.jwks is None:
        return None
    return KeySet.import_key_set(msgspec.json.decode(client.jwks))


def _check(client: Client) -> None:
    if not _ID.fullmatch(client.id):
        raise InvalidError("a client's id has 1 to 100 letters, digits and . _ -")
    if client.method not in (*METHODS, "client_secret_post"):
        raise InvalidError(f"a client proves itself by one of: {', '.join(METHODS)}")
    if not set(client.grants) <= set(GRANTS) or not client.grants:
        raise InvalidError(f"grants are: {', '.join(GRANTS)}")
    check_roles(client.roles)
    if client.method == "none" and set(client.grants) - {AUTHORIZATION_CODE, REFRESH_TOKEN}:
        raise InvalidError("a client without a secret or a key acts only for people")
    if (AUTHORIZATION_CODE in client.grants) is not bool(client.redirect_uris):
        raise InvalidError("authorization_code and redirect addresses go together")
    for uri in (*client.redirect_uris, *client.logout_uris):
        _check_uri(uri)
    unknown = [one for one in client.scope.split() if not granting.is_known(one)]
    if unknown:
        raise InvalidError("a scope is one of SMART App Launch 2, such as user/AuditEvent.rs")
    if (client.method == "private_key_jwt") is not (client.jwks is not None):
        raise InvalidError("private_key_jwt and a JWK Set of public keys go together")
    _check_keys(client)


def _check_keys(client: Client) -> None:
    try:
        found = keys(client)
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise InvalidError("the JWK Set cannot be read (RFC 7517, 5)") from error
    if found is not None and (
        not found.keys or any(key.is_private or key.key_type == "oct" for key in found.keys)
    ):
        raise InvalidError("the JWK Set has public keys only: RSA or P-384")


def _check_uri(uri: str) -> None:
    """Raise InvalidError unless an address is exact, and none that a script or a listener reads."""
    parts = urlsplit(uri)
    is_own = "." in parts.scheme  # An app's own scheme is a domain of its maker's (RFC 8252, 7.1).
    is_web = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    if not (is_own or (is_web and parts.netloc)) or parts.fragment or "*" in uri or "@" in uri:
        raise InvalidError(
            "a redirect address is exact: https, http on this machine, or an app's own scheme"
        )
