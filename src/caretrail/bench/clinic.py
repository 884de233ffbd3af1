"""A FHIR server that does its work, to stand behind a gateway: the clinic, with no audit of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import uvloop

from caretrail import listening, opening
from caretrail.access.decision import Gate
from caretrail.api.service import Service
from caretrail.beside import clinic_alone
from caretrail.settings import Settings


async def _serve(folder: Path) -> None:
    listener = listening.listen("127.0.0.1", 0)
    async with (
        opening.opened(Settings(data=folder)) as log,
        clinic_alone(Service(log.repository, Gate(None)), folder) as application,
    ):
        listening.settle()
        print(listener.getsockname()[1], flush=True)  # noqa: T201  (the parent reads it)
        await listening.server(application).serve(sockets=[listener])


def main() -> None:
    """Say the port and serve until the process is stopped; the folder is the argument."""
    uvloop.run(_serve(Path(sys.argv[1])))
