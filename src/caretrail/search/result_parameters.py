"""What every search says besides what to find: result parameters (FHIR R4, search, 3.1.1.5)."""

from __future__ import annotations

from typing import Any

from caretrail.errors import Issue, ParameterError
from caretrail.limits import SEARCH_COUNT_MAX


class ResultParameters:
    """Collects them from a search's names and values, and what of the search was applied or not.

    With `strict` what is not known is an error, and else it is left out and noted.
    """

    def __init__(self, *, strict: bool) -> None:
        self._strict = strict
        self._applied: list[tuple[str, str]] = []
        self._ignored: list[Issue] = []
        self._control: dict[str, Any] = {}

    def read_count(self, name: str, value: str) -> None:
        """Read `_count`; 0 asks for the number alone."""
        if not value.isascii() or not value.isdigit() or len(value) > 9:
            raise ParameterError("`_count` is a whole number of at most 9 digits")
        if int(value) == 0:
            self._control["summary"] = "count"
        else:
            self._control["count"] = min(int(value), SEARCH_COUNT_MAX)
        self._applied.append((name, value))

    def read_page(self, _: str, value: str) -> None:
        """Read the place that the link to another page has."""
        self._control["page"] = value

    def unknown(self, what: str) -> None:
        """Leave something out, or refuse it; its name is the sender's own text: it is not said."""
        issue = Issue("not-supported", what, severity="error" if self._strict else "warning")
        if self._strict:
            raise ParameterError((issue,))
        self._ignored.append(issue)

    def results(self) -> dict[str, Any]:
        """Return the fields of a query that this is about; raise ParameterError for a bad mixture."""
        if self._control.get("elements") and self._control.get("summary") not in (None, "false"):
            raise ParameterError("`_elements` and `_summary` cannot be combined")
        return {"applied": tuple(self._applied), "ignored": tuple(self._ignored), **self._control}
