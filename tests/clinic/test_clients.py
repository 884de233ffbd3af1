"""Clients that others made, against a real `caretrail serve --clinic`."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import pytest

from tests.serving import serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.serving import Served

SERVE = "from caretrail.cli import main; main()"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, str]]:
    folder: Path = tmp_path_factory.mktemp("served")
    command = [sys.executable, "-c", SERVE, "serve", "--clinic", "--data", "data", "--port", "0"]
    with serving(command, folder=folder) as running:
        yield running, (folder / "data" / "token").read_text().strip()


def test_fhirpy_creates_searches_changes_and_deletes(served: tuple[Served, str]) -> None:
    from fhirpy import AsyncFHIRClient
    from fhirpy.base.exceptions import OperationOutcome

    running, token = served

    async def work() -> None:
        client = AsyncFHIRClient(f"{running.address}/fhir", authorization=f"Bearer {token}")
        patient = client.resource("Patient", name=[{"family": "Mockley"}], gender="female")
        await patient.save()
        assert patient.id
        found = client.resources("Patient").search(family="mock").sort("-birthdate")
        assert await found.count() == 1
        assert (await found.first())["id"] == patient.id
        patient["gender"] = "male"
        await patient.save()
        again = await client.reference("Patient", patient.id).to_resource()
        assert again["gender"] == "male"
        for number in range(5):
            await client.resource(
                "Observation",
                status="final",
                code={"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
                subject=patient.to_reference(),
                valueInteger=number,
            ).save()
        rows = client.resources("Observation").search(patient=patient.id).limit(2)
        assert len(await rows.fetch_all()) == 5
        included = client.resources("Observation").include("Observation", "subject").limit(1)
        assert len((await included.fetch_raw())["entry"]) == 2
        with pytest.raises(OperationOutcome):
            await client.resource("Patient", nonsense=1).save()
        await patient.delete()

    asyncio.run(work())


@pytest.mark.filterwarnings("ignore::DeprecationWarning:fhirclient")
def test_fhirclient_reads_and_writes_its_models(served: tuple[Served, str]) -> None:
    from fhirclient import client as smart
    from fhirclient.models.humanname import HumanName
    from fhirclient.models.patient import Patient

    running, token = served
    found = smart.FHIRClient(settings={"app_id": "test", "api_base": f"{running.address}/fhir"})
    found.server.session.headers["Authorization"] = f"Bearer {token}"
    patient = Patient()
    patient.name = [HumanName({"family": "Testström", "given": ["Ada"]})]
    made = patient.create(found.server)
    read = Patient.read(made["id"], found.server)
    assert read.name[0].family == "Testström"
    read.gender = "other"
    read.update(found.server)
    matches = Patient.where({"family": "testström"}).perform_resources(found.server)
    assert [(one.id, one.gender) for one in matches] == [(made["id"], "other")]
    read.delete(found.server)
    assert Patient.where({"family": "testström"}).perform_resources(found.server) == []
    found.server.session.close()
