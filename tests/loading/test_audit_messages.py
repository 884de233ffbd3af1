"""Audit messages of DICOM in files: each is one event, and one that cannot be read is kept apart."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from caretrail.fhir.intake import Form
from caretrail.limits import EVENT_BYTES_MAX
from caretrail.loading import Loader, read
from caretrail.search.query import parse
from tests.storage import world

if TYPE_CHECKING:
    from pathlib import Path

MESSAGE = (
    b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- a comment --><x:AuditMessage xmlns:x="urn:x">'
    b'<EventIdentification EventDateTime="2020-01-02T03:04:05Z" EventOutcomeIndicator="0"><EventID'
    b' csd-code="110112" codeSystemName="DCM" originalText="Query"/></EventIdentification>'
    b'<ActiveParticipant UserID="u" UserIsRequestor="true"/>'
    b'<AuditSourceIdentification AuditSourceID="pacs"/></x:AuditMessage>'
)


def test_a_message_is_loaded_as_an_event_and_a_bad_one_is_quarantined(tmp_path: Path) -> None:
    good, bomb, large = (tmp_path / f"{name}.xml" for name in ("good", "bomb", "large"))
    good.write_bytes(MESSAGE)
    bomb.write_bytes(b'<!DOCTYPE a [<!ENTITY x "y">]><AuditMessage/>')
    large.write_bytes(MESSAGE + b" " * EVENT_BYTES_MAX)

    async def main() -> None:
        repository = world.opened(tmp_path / "data")
        try:
            loader = Loader(repository, world.SENDER)
            for path in (good, bomb, large):
                progress = await loader.take(list(read(path)))
            assert (progress.stored, progress.refused) == (1, 2)
            query = parse(
                [("source.identifier", "pacs")], strict=True, base="http://x", now=world.END
            )
            (record,) = (await repository.search(query)).records
            assert (record.body, record.form) == (MESSAGE, Form.AUDIT_MESSAGE)
            assert record.flags.codes() == ["converted"]
            assert len(await repository.quarantined(after=0, limit=9)) == 2
        finally:
            await repository.close()

    asyncio.run(main())
