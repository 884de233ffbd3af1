"""`_content` and `_text`: words of an event's names, descriptions and displays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from caretrail.errors import ParameterError
from caretrail.search import displays
from caretrail.search.fold import words
from caretrail.search.syntax import unescape
from caretrail.search.term import And, Node, Or, Prefix, Scan, Term, spell, spell_prefix, unspell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

WORDS: Final = "wo"
# The parameters agent-name, entity-name and outcome-desc keep their texts as terms, and these are
# read through for words: names are few, and words of their own would be half of all.
LISTED: Final = ("an", "nm", "od")
# Instead of its words: an event that has too many of them is always compared.
OVERFLOW: Final = "\u01fe"

_MANY: Final = Term(WORDS + OVERFLOW)


class Value(NamedTuple):
    """Every one of these words occurs; a word of `starts` may go on."""

    whole: tuple[str, ...]
    starts: tuple[str, ...]

    def matches(self, elements: Iterable[str]) -> bool:
        """Tell whether all words occur in the texts."""
        found = words(elements)
        return all(word in found for word in self.whole) and all(
            any(word.startswith(start) for word in found) for start in self.starts
        )

    def node(self, _: str) -> Node:
        """Return where the index has them: as words, or in the displays of codings."""
        whole = [_find(Term(WORDS + spell(word)), _is(word)) for word in self.whole]
        starts = [_find(Prefix(WORDS + spell_prefix(word)), _begins(word)) for word in self.starts]
        return And((*whole, *starts))

    @property
    def exact(self) -> bool:
        """Tell whether the index alone decides: it bounds the words of an event."""
        return False


def parse(text: str) -> Value:
    """Parse words; one that ends in `*` stands for all that begin so."""
    parts = [(part.endswith("*"), words((part,))) for part in unescape(text).split()]
    whole = sorted({word for _, found in parts for word in found})
    starts = sorted(
        {word for open_end, found in parts if open_end and len(found) == 1 for word in found}
    )
    if not whole:
        raise ParameterError("there is no word to look for")
    return Value(tuple(word for word in whole if word not in starts), tuple(starts))


def _find(node: Node, accepts: Callable[[str], bool]) -> Node:
    listed = tuple(_listed(key, accepts) for key in LISTED)
    return Or((_MANY, node, displays.scan(None, accepts), *listed))


def _listed(key: str, accepts: Callable[[str], bool]) -> Node:
    def accepted(term: str) -> bool:
        text, whole = unspell(term[len(key) :])
        return not whole or accepts(text)

    return Scan(key, accepted)


def _is(word: str) -> Callable[[str], bool]:
    return lambda text: word in words((text,))


def _begins(start: str) -> Callable[[str], bool]:
    return lambda text: any(word.startswith(start) for word in words((text,)))
