"""Exports: a search as a file, made as a job; progress, cancel, download and expiry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from caretrail.console import bar, period
from caretrail.console.rendering import ROOT, Page
from caretrail.errors import InvalidError
from caretrail.exporting import bundle, formats
from caretrail.fhir.temporal import format_instant

if TYPE_CHECKING:
    from collections.abc import Mapping

    from caretrail.console.asking import Asking
    from caretrail.exporting.jobs import Job

_EXPORT: Final = "/fhir/AuditEvent/$export"
_JOB: Final = "/fhir/$export/{}"
# What a person chooses from: the names of forms, and what they are good for.
FORMS: Final = {
    "bundle": (bundle.MEDIA, "Evidence bundle: events with their proofs, and a verifier"),
    "ndjson": (formats.NDJSON.media, "NDJSON: one AuditEvent a line"),
    "csv": ("text/csv", "CSV: a table for a spreadsheet"),
    "parquet": ("application/vnd.apache.parquet", "Parquet: a table for analysis"),
}


async def exports(asking: Asking) -> Page:
    """Make the page: what this person has exported, and a form for more."""
    stretch = period.read(asking, default="30d")
    text = asking.value("q")
    jobs = asking.service.exports.of(asking.identity.producer) if asking.service.exports else []
    data = {
        "q": text,
        "range": stretch.name,
        "ends": {name: stretch.address.get(name, "") for name in ("from", "to")},
        "ranges": {name: label for name, (label, _) in period.RANGES.items()},
        "zone": stretch.zone,
        "forms": {name: about for name, (_, about) in FORMS.items()},
        "jobs": [_told(one) for one in jobs],
        "waiting": any(not one.has_ended for one in jobs),
    }
    return Page("exports", "Exports", data)


def _told(job: Job) -> dict[str, Any]:
    media = job.wanted.media
    return {
        "id": job.id,
        "form": next((name for name, (one, _) in FORMS.items() if one == media), media),
        "file": job.wanted.file_name,
        "state": "failed" if job.error else "ready" if job.exported else "running",
        "said": str(job.error) if job.error else "" if job.exported else job.progress(),
        "events": job.exported.events if job.exported else None,
        "expires": format_instant(int(job.expires * 1000)) if job.expires else "",
    }


async def begin(asking: Asking, form: Mapping[str, str]) -> str:
    """Begin an export of a search, as the API does it; return where it is shown."""
    name = form.get("form", "ndjson")
    if name not in FORMS:
        raise InvalidError(f"a form is one of {', '.join(FORMS)}")
    asking.pairs = [(key, value) for key, value in form.items() if key in _PERIOD]
    pairs = [*bar.read(form.get("q", "")), *period.read(asking, default="30d").pairs]
    wanted = [("_outputFormat", FORMS[name][0])]
    if pairs:
        wanted.append(("_typeFilter", f"AuditEvent?{urlencode(pairs)}"))
    await asking.order("POST", _EXPORT, wanted, prefer="respond-async")
    return f"{ROOT}/exports"


_PERIOD: Final = ("range", "from", "to", "tz")


async def cancel(asking: Asking, form: Mapping[str, str]) -> str:
    """Cancel a job, or delete its file."""
    job = form.get("job", "")
    if not job.replace("-", "").replace("_", "").isalnum():
        raise InvalidError("there is no such export")
    await asking.order("DELETE", _JOB.format(job))
    return f"{ROOT}/exports"
