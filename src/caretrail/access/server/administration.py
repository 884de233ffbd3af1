"""What an administrator changes: people, clients and keys. A kind of change is a row here.

Each change is told before it takes effect. Whoever may write to the data folder may ask for one,
by the command `caretrail access`; a running server makes it, or else the command itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from caretrail.access.server import clients, override, people, sessions, tokens
from caretrail.access.server.events import Seen
from caretrail.errors import Error, InvalidError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from caretrail.access.server.desk import Desk
    from caretrail.access.server.people import Person
    from caretrail.access.server.store import Act

Change = dict[str, Any]
# The command runs on this machine.
_ADDRESS: Final = "127.0.0.1"
_ANSWERED_SECONDS: Final = 3600


class Order(NamedTuple):
    """What is asked for, in the act that does it; `by` is an account of this machine."""

    act: Act
    desk: Desk
    given: Mapping[str, Any]
    by: str

    @property
    def seen(self) -> Seen:
        """Return from where and when: here and now."""
        return Seen(_ADDRESS, self.act.milliseconds)

    def tell(self, before: Person | None, after: Person, what: str) -> None:
        """Tell of a changed account."""
        self.act.note(self.desk.events.changed(self.seen, self.by, before, after, what=what))

    def configured(self, what: str, action: str, *, before: str, after: str) -> None:
        """Tell of a changed client or key."""
        self.act.note(
            self.desk.events.configured(
                self.seen, self.by, what=what, action=action, before=before, after=after
            )
        )


def _link(order: Order, person: Person | None) -> str:
    secret = people.invite(order.act, person)
    return f"{order.desk.rules.issuer}/set-up?invitation={secret}"


def _add_user(order: Order) -> list[str]:
    person = people.add(order.act, **order.given)
    order.tell(None, person, "added")
    return [f"{person.name} was added. This link is good once, for a day:", _link(order, person)]


def _set_roles(order: Order) -> list[str]:
    before = people.named(order.act, order.given["name"])
    after = people.set_roles(order.act, before, order.given["roles"])
    order.tell(before, after, "other roles")
    # Tokens that say otherwise are good no longer.
    _end(order, after, "the roles were changed")
    return [f"{after.name} has now: {' '.join(after.roles) or 'no role'}"]


def _switch_user(order: Order) -> list[str]:
    before = people.named(order.act, order.given["name"])
    active = bool(order.given["active"])
    after = people.set_active(order.act, before, active=active)
    order.tell(before, after, "enabled" if active else "disabled")
    if not active:
        _end(order, after, "the account was disabled")
    return [f"{after.name} {'can sign in again' if active else 'cannot sign in any more'}"]


def _reset_user(order: Order) -> list[str]:
    before = people.named(order.act, order.given["name"])
    after = people.clear(order.act, before, second_factor=bool(order.given["second_factor"]))
    order.tell(before, after, "the password was reset")
    _end(order, after, "the password was reset")
    return [
        "The old password is good no longer. This link is good once, for a day:",
        _link(order, after),
    ]


def _end(order: Order, person: Person, reason: str) -> None:
    """End all that a person has begun: sessions and tokens."""
    act, desk = order.act, order.desk
    for session in sessions.of_person(act, person.id):
        sessions.end(act, session)
        if session.level == sessions.FULL:
            act.note(desk.events.signed_out(order.seen, person, reason=reason))
    override.stop(act, desk, order.seen, person, why=reason)
    ended = tokens.revoke(act, desk, consents=tokens.consents_of(act, "person", person.id))
    if ended:
        made = desk.events.token_revoked(order.seen, "", person, tokens=ended, reason=reason)
        act.note(made)


def _users(order: Order) -> list[str]:
    return [
        f"{one.name}: {one.display} ({' '.join(one.roles) or 'no role'})"
        f"{', with a second factor' if one.has_totp else ''}"
        f"{'' if one.active else ', disabled'}"
        for one in people.everybody(order.act)
    ] or ["there are no users"]


def _add_client(order: Order) -> list[str]:
    client, secret = clients.add(order.act, **order.given)
    order.configured(f"client {client.id}", "C", before="none", after=client.state)
    lines = [f"{client.id} was added"]
    return [*lines, "Its secret, shown once:", secret] if secret else lines


def _keep_client(order: Order) -> list[str]:
    """Register a client, or give the one that there is these addresses and this scope."""
    given = order.given
    before = clients.find(order.act, given["id"])
    if before is None:
        return _add_client(order)
    after = clients.readdress(
        order.act,
        before,
        redirect_uris=tuple(given["redirect_uris"]),
        logout_uris=tuple(given["logout_uris"]),
        scope=given["scope"],
    )
    if after != before:
        order.configured(f"client {after.id}", "U", before=before.state, after=after.state)
    return [f"{after.id} is registered"]


def _switch_client(order: Order) -> list[str]:
    before = clients.named(order.act, order.given["id"])
    active = bool(order.given["active"])
    after = clients.set_active(order.act, before, active=active)
    order.configured(f"client {after.id}", "U", before=before.state, after=after.state)
    if not active:
        _end_client(order, after.id, "the client was disabled")
    return [f"{after.id} {'gets tokens again' if active else 'gets no tokens any more'}"]


def _reset_client(order: Order) -> list[str]:
    client = clients.named(order.act, order.given["id"])
    secret = clients.new_secret(order.act, client)
    order.configured(f"client {client.id}", "U", before="a secret", after="another secret")
    _end_client(order, client.id, "the secret was reset")
    return ["The old secret is good no longer. The new one, shown once:", secret]


def _end_client(order: Order, client_id: str, reason: str) -> None:
    ended = tokens.end_of_client(order.act, order.desk, client_id)
    if ended:
        made = order.desk.events.token_revoked(
            order.seen, client_id, None, tokens=ended, reason=reason
        )
        order.act.note(made)


def _clients(order: Order) -> list[str]:
    return [
        f"{one.id}: {one.name} ({one.method}; {' '.join(one.grants)}; {one.scope or 'no scope'})"
        f"{'' if one.active else ', disabled'}"
        for one in clients.every(order.act)
    ] or ["there are no clients"]


def _rotate_keys(order: Order) -> list[str]:
    keys = order.desk.keys
    rotation = keys.another(order.act.now)
    order.configured("signing key", "U", before=keys.signing, after=rotation.key)
    order.act.then(lambda: keys.take(rotation))
    return ["a new key signs tokens from now on"]


CHANGES: Final[Mapping[str, Callable[[Order], list[str]]]] = {
    "users": _users,
    "add-user": _add_user,
    "set-roles": _set_roles,
    "switch-user": _switch_user,
    "reset-user": _reset_user,
    "clients": _clients,
    "add-client": _add_client,
    "keep-client": _keep_client,
    "switch-client": _switch_client,
    "reset-client": _reset_client,
    "rotate-keys": _rotate_keys,
}


def make(act: Act, desk: Desk, asked: Change) -> list[str]:
    """Make a change; return what to say of it. Raises Error.

    `change` names the row of CHANGES and `by` who asks for it; the rest is the row's own.
    """
    given = {name: value for name, value in asked.items() if name not in ("change", "by")}
    row = CHANGES.get(asked.get("change", ""))
    if row is None:
        raise InvalidError("this version knows no such change")
    try:
        return row(Order(act, desk, given, str(asked["by"])))
    except (KeyError, TypeError) as error:
        raise InvalidError("the change is not complete") from error


class Waiting(NamedTuple):
    """A change that another process asks for."""

    number: int
    asked: Change


def waiting(act: Act) -> list[Waiting]:
    """Return the changes that wait, in order; what nobody has fetched is forgotten."""
    act.do("DELETE FROM change WHERE answer IS NOT NULL AND made < ?", act.now - _ANSWERED_SECONDS)
    rows = act.every("SELECT number, asked FROM change WHERE answer IS NULL ORDER BY number")
    return [Waiting(row["number"], msgspec.json.decode(row["asked"])) for row in rows]


def answer(act: Act, desk: Desk, one: Waiting) -> None:
    """Make a change that another process asks for; raises Error."""
    _reply(act, one.number, {"lines": make(act, desk, one.asked)})


def refuse(act: Act, one: Waiting, error: Error) -> None:
    """Tell another process why its change was not made."""
    _reply(act, one.number, {"problem": str(error)})


def _reply(act: Act, number: int, reply: dict[str, Any]) -> None:
    text = msgspec.json.encode(reply).decode()
    act.do("UPDATE change SET answer = ?, made = ? WHERE number = ?", text, act.now, number)
