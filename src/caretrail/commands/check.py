"""What `caretrail check` does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caretrail.errors import Error
from caretrail.fhir import doctor, intake, xml
from caretrail.loading import read

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


def check_files(files: Sequence[Path], *, mend: bool, say: Callable[[str], None]) -> int:
    """Examine every event of the files; return 0 when each meets what it claims."""
    failed = 0
    for file in files:
        for source in read(file):
            body = xml.to_json(source.body) if source.xml else source.body
            if mend:
                # Before it is judged: what R4 itself asks for can be mended, too.
                body = doctor.mend(body)
                say(body.decode())
            failed += _examined(f"{file}:{source.number}", body, _nothing if mend else say)
    return 1 if failed else 0


def _nothing(_: str) -> None:
    """Say nothing: what was mended has been printed."""


def _examined(place: str, body: bytes, say: Callable[[str], None]) -> bool:
    """Say what is wrong with an event and what the doctor found; return whether it is sick."""
    try:
        found = intake.parse(body)
        diagnosis = doctor.examine(intake.view(body, found.form))
    except Error as error:
        for issue in error.issues():
            say(f"{place}: {issue.expression} {issue.diagnostics}")
        return True
    for line in diagnosis.lines():
        say(f"{place}: {line}")
    return not diagnosis.holds
