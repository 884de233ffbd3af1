"""What an outsider gets with the evidence: two verifiers, which import nothing of CareTrail.

They are shipped as they stand, so they are data as much as code. They are also the only judges of
the bundles that `tlog.evidence` makes: nothing here knows how those are made.
"""

from __future__ import annotations

from importlib import resources
from typing import IO, TYPE_CHECKING, Final
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

if TYPE_CHECKING:
    from collections.abc import Iterable

ATTACHMENTS: Final = ("README.txt", "verify.py", "verify.html")
# Hashes and keys do not get smaller.
_STORED: Final = (".bin", ".tsr")
# A bundle's time is in its checkpoint; the archive has one spelling, whenever it is written.
_DATE: Final = (1980, 1, 1, 0, 0, 0)


def attachments() -> dict[str, bytes]:
    """Return the files that lie beside the evidence: the verifiers, and how to use them."""
    return {name: resources.files(__name__).joinpath(name).read_bytes() for name in ATTACHMENTS}


def write_archive(members: Iterable[tuple[str, bytes]], target: IO[bytes]) -> None:
    """Write the members as the strict ZIP that the format asks for; `target` must be seekable."""
    with ZipFile(target, "w") as archive:
        for name, body in members:
            info = ZipInfo(name, _DATE)
            info.compress_type = ZIP_STORED if name.endswith(_STORED) else ZIP_DEFLATED
            archive.writestr(info, body)
