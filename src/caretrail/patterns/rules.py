"""Which exchanges are recorded: the first rule that fits decides, and without one all are."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from caretrail.patterns.credential import OAuthToken
from caretrail.patterns.interaction import name_of

if TYPE_CHECKING:
    from caretrail.patterns.exchange import Exchange
    from caretrail.patterns.interaction import Interaction, Target


class Rule(NamedTuple):
    """Include or exclude what fits all three lists; an empty one fits everything.

    Interactions are named as in docs/reference/coverage.md, an operation by its own name such as
    `$validate`, a client by its client_id or reference.
    """

    include: bool
    interactions: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset()
    clients: frozenset[str] = frozenset()

    def fits(self, interaction: str, kind: str, client: str) -> bool:
        """Return whether the rule is about such an exchange."""
        return (
            (not self.interactions or interaction in self.interactions)
            and (not self.types or kind in self.types)
            and (not self.clients or client in self.clients)
        )

    def text(self) -> str:
        """Return the rule as an event says it."""
        lists = zip(
            ("interactions", "types", "clients"),
            (self.interactions, self.types, self.clients),
            strict=True,
        )
        named = [f"{name} {', '.join(sorted(values))}" for name, values in lists if values]
        return " ".join(["include" if self.include else "exclude", "; ".join(named) or "all"])


class Rules(NamedTuple):
    """Rules in their order."""

    rows: tuple[Rule, ...] = ()

    def include(self, exchange: Exchange, row: Interaction, target: Target) -> bool:
        """Return whether the exchange is recorded."""
        if not self.rows:
            return True
        facts = (name_of(row, target), target.inner or target.type, _client(exchange))
        return next((rule.include for rule in self.rows if rule.fits(*facts)), True)

    def text(self) -> str:
        """Return the rules as an event says them."""
        return " | ".join(rule.text() for rule in self.rows) or "include all"


def _client(exchange: Exchange) -> str:
    who, token = exchange.identity.client, exchange.identity.credential
    if who is not None:
        return str(who.get("reference") or who.get("identifier", {}).get("value") or "")
    return (token.client or "") if isinstance(token, OAuthToken) else ""
