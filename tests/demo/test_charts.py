"""The charts of the demonstration: valid resources about the patients of its events."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.clinic.hospital import Hospital

from caretrail.clinic import validation
from caretrail.demo import charts
from caretrail.demo.cast import Cast

if TYPE_CHECKING:
    from pathlib import Path

END = 1_790_000_000_000  # 2026-09-21T14:13:20Z


def test_the_same_seed_makes_the_same_valid_charts() -> None:
    body = charts.transaction(seed=7, end_milliseconds=END)
    assert body == charts.transaction(seed=7, end_milliseconds=END)
    assert body != charts.transaction(seed=8, end_milliseconds=END)
    rows = [entry["resource"] for entry in json.loads(body)["entry"]]
    for row in rows:
        validation.check(row)
    patients = [row["id"] for row in rows if row["resourceType"] == "Patient"]
    assert patients == [Cast(7).patient(number).id for number in range(charts.PATIENTS)]


def test_the_clinic_takes_the_charts(tmp_path: Path) -> None:
    clinic = Hospital(tmp_path)
    try:
        assert clinic.post("", charts.transaction(seed=7, end_milliseconds=END)).is_success
        assert len(clinic.found("Patient")) == charts.PATIENTS
        assert len(clinic.found("Patient/pat-000003/$everything")) == 11
    finally:
        clinic.close()
