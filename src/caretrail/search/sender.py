"""Who sent an event, as the log has it beside the event: the sender's name, and an organisation's.

No search names these. They are in the index for views, and for what the log asks about itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from caretrail.limits import TERM_CHARACTERS_MAX
from caretrail.search.index import ORGANISATION, PRODUCER
from caretrail.search.parameters import SearchParameter, Type
from caretrail.search.query import Clause
from caretrail.search.term import Node, Prefix, Term, spell

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence


class SenderValue(NamedTuple):
    """The name of a sender or of an organisation, as the log has it beside an event."""

    name: str

    def matches(self, elements: Collection[str]) -> bool:
        """Tell whether it is this one."""
        return self.name in elements

    def node(self, key: str) -> Node:
        """Return where the index has it."""
        return Term(key + spell(self.name))

    @property
    def exact(self) -> bool:
        """Tell whether the index alone decides: it cuts long names off."""
        return len(self.name) <= TERM_CHARACTERS_MAX


class AnySender(NamedTuple):
    """Any name at all."""

    def matches(self, elements: Collection[str]) -> bool:
        """Tell whether there is one."""
        return bool(elements)

    def node(self, key: str) -> Node:
        """Return where the index has them."""
        return Prefix(key)

    @property
    def exact(self) -> bool:
        """Tell whether the index alone decides."""
        return True


def _beside(code: str, key: str, values: Callable[[Any], Sequence[str]]) -> SearchParameter:
    return SearchParameter(code, Type.TOKEN, key, "", values, f"The {code} beside the event")


_ORGANISATION: Final = _beside(
    "organisation",
    ORGANISATION,
    lambda r: (r.record.organisation,) if r.record.organisation else (),
)
_PRODUCER: Final = _beside("producer", PRODUCER, lambda r: (r.record.producer,))


def of_organisation(name: str) -> Clause:
    """Return the clause of the events that were filed under an organisation: "" is none."""
    if name:
        return Clause(_ORGANISATION, (SenderValue(name),))
    return Clause(_ORGANISATION, (AnySender(),), negated=True)


def of_producer(name: str) -> Clause:
    """Return the clause of the events that a source has sent itself."""
    return Clause(_PRODUCER, (SenderValue(name),))
