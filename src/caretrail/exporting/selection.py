"""What is exported: events that searches find, events about subjects, or a range of entries."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple, Self
from urllib.parse import parse_qsl, urlencode

from caretrail.errors import Issue, ParameterError
from caretrail.fhir.audit_event import Identifier, Reference
from caretrail.limits import (
    EXPORT_FILTERS_MAX,
    EXPORT_SUBJECT_CHARACTERS_MAX,
    EXPORT_SUBJECTS_MAX,
    SEARCH_VALUES_MAX,
)
from caretrail.search import query as search_query
from caretrail.search.query import Query
from caretrail.search.reference import literal
from caretrail.sequencer import subject
from caretrail.tlog.entry import Mac, subject_key
from caretrail.tlog.evidence import Subject

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caretrail.search.query import Clause

_TYPE: Final = "AuditEvent?"
# An entry has a tag for each patient and each agent: whoever is asked for may have been either.
_ROLES: Final = ("patient", "agent")
# What shapes the pages of a search means nothing to an export.
_CONTROLS: Final = frozenset(
    ["_count", "_sort", "_total", "_summary", "_elements", "_include", "_revinclude", "_page",
     "_format", "_pretty", "_outputFormat"]
)  # fmt: skip


class Filter(NamedTuple):
    """One search of an export, and how it is told in the log."""

    query: Query
    text: str

    @classmethod
    def parse(cls, text: str, *, base: str, now: int) -> Self:
        """Return the search in a query string, with or without `AuditEvent?` before it.

        A parameter that is not known would let more out than was meant, so it is refused. Raises
        ParameterError.
        """
        try:
            pairs = parse_qsl(
                text.removeprefix(_TYPE),
                keep_blank_values=True,
                errors="strict",
                max_num_fields=SEARCH_VALUES_MAX,
            )
        except ValueError as error:
            raise _wrong("the search is not UTF-8, or has too many parameters") from error
        if any(name.partition(":")[0] in _CONTROLS for name, _ in pairs):
            raise _wrong("an export takes search parameters, and none that shape a page")
        query = search_query.parse(pairs, strict=True, base=base, now=now)
        if not query.clauses:
            raise _wrong("the search names no parameter with a value: leave it out for all events")
        return cls(query, urlencode(pairs, safe="/:,|"))


class Selection(NamedTuple):
    """What is exported; an event that fits one filter is.

    Without filters and subjects it is every entry from `start` up to before `end`, where None is
    the end of the log. Subjects are asked for in such a range as well, and never with filters.
    `is_narrow` says that whoever asks may not see all of the log.
    """

    filters: tuple[Filter, ...] = ()
    subjects: tuple[str, ...] = ()
    start: int = 0
    end: int | None = None
    is_narrow: bool = False

    @classmethod
    def of(
        cls,
        *,
        filters: Sequence[Filter] = (),
        subjects: Sequence[str] = (),
        start: int | None = None,
        end: int | None = None,
    ) -> Self:
        """Return the selection, or raise ParameterError for one that makes no sense."""
        ranged = start is not None or end is not None
        if filters and (subjects or ranged):
            raise _wrong("a search stands alone: leave out the subjects, the start and the end")
        if len(filters) > EXPORT_FILTERS_MAX:
            raise _wrong(f"an export takes {EXPORT_FILTERS_MAX} searches")
        if len(subjects) > EXPORT_SUBJECTS_MAX:
            raise _wrong(f"a report is about {EXPORT_SUBJECTS_MAX} subjects at most")
        first = start or 0
        if first < 0 or (end is not None and end <= first):
            raise _wrong("the end is after the start, and the start is 0 or more")
        for one in subjects:
            _reference(one)
        return cls(tuple(filters), tuple(dict.fromkeys(subjects)), first, end)

    def within(self, clauses: Sequence[Clause], binding: str) -> Self:
        """Return the selection without what fits none of the clauses; none are all of the log.

        A range or a report about a subject shows that there is nothing else, and so also how much
        there is of what may not be seen: raises ParameterError.
        """
        if not clauses:
            return self
        if self.subjects or self.start or self.end is not None:
            raise _wrong("with this credential an export is of searches")
        filters = [
            one._replace(query=replace(one.query, within=tuple(clauses), binding=binding))
            for one in self.filters or (Filter(Query(), ""),)
        ]
        return self._replace(filters=tuple(filters), is_narrow=True)

    def text(self) -> str:
        """Return the selection as the log tells of it."""
        if self.filters:
            return " or ".join((_TYPE + one.text).rstrip("?") for one in self.filters)
        rows = [("_subject", one) for one in self.subjects]
        if self.start:
            rows.append(("sequence", f"ge{self.start}"))
        if self.end is not None:
            rows.append(("sequence", f"lt{self.end}"))
        return _TYPE + urlencode(rows, safe="/:,|") if rows else "AuditEvent"


def subjects_of(texts: Sequence[str], tag_key: bytes) -> list[Subject]:
    """Return the keys of subjects, as patients and as agents (entry format, tags)."""
    mac = Mac(tag_key)
    names = [subject(role, _reference(text)) for text in texts for role in _ROLES]
    return [Subject(name, subject_key(mac, name)) for name in names]


def _reference(text: str) -> Reference:
    """Return what `Type/id`, a URL, a URN or `system|value` refers to."""
    if len(text) > EXPORT_SUBJECT_CHARACTERS_MAX or not text.isprintable() or " " in text:
        raise _wrong("a subject has a character that it cannot have, or is too long")
    system, bar, value = text.partition("|")
    if bar and value:
        return Reference(identifier=Identifier(system=system or None, value=value))
    if bar or not (literal(text) or text.startswith("urn:")):
        raise _wrong("a subject is Type/id, such as Patient/1, or an identifier, system|value")
    return Reference(reference=text)


def _wrong(what: str) -> ParameterError:
    return ParameterError((Issue("invalid", what),))
