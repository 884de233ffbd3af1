"""Jobs are recorded when they end, whichever way; rules change only after their own events."""

from __future__ import annotations

import asyncio

import pytest

from caretrail.capture.job import AuditedJob, audited_job
from caretrail.capture.rules import change_rules
from caretrail.errors import StoreError
from caretrail.patterns.exchange import Identity
from caretrail.patterns.observation import Machine, User, identified, reference
from caretrail.patterns.rules import Rule, Rules
from tests.capture.sinks import FailingSink, ListSink, recorder, run
from tests.patterns.exchanges import entities, parsed, patients

CRON = Identity(user=User(who=reference("Practitioner/1")))
CONSOLE = Machine(who=identified("console"), address="192.0.2.1")
NOISE = Rule(include=False, interactions=frozenset(["capabilities"]))
READS = Rule(include=False, interactions=frozenset(["read"]))


def test_a_job_is_recorded_about_its_patients() -> None:
    sink = ListSink()

    async def work() -> None:
        async with AuditedJob(recorder(sink), "nightly", identity=CRON) as job:
            job.about("Patient/1", "Patient/2", "Patient/1")
            job.touched("Observation/7")

    run(work())
    assert patients(sink.events) == ["Patient/1", "Patient/2"]
    assert sink.calls == [2]
    for event in sink.events:
        parsed(event)
        assert event["outcome"] == "0"


@pytest.mark.parametrize(
    ("error", "outcome"), [(ValueError("secret"), "8"), (asyncio.CancelledError(), "4")]
)
def test_a_job_that_fails_says_so_and_not_why(error: BaseException, outcome: str) -> None:
    sink = ListSink()

    @audited_job(recorder(sink), "nightly")
    async def nightly() -> None:
        raise error

    with pytest.raises(type(error)):
        run(nightly())
    (event,) = sink.events
    assert event["outcome"] == outcome
    assert "secret" not in str(event)


def test_a_decorated_function_is_still_itself() -> None:
    sink = ListSink()

    @audited_job(recorder(sink), "sum")
    async def add(first: int, *, second: int) -> int:
        """Add."""
        return first + second

    assert run(add(1, second=2)) == 3
    assert (add.__name__, add.__doc__) == ("add", "Add.")
    assert entities(sink.events[0], "2")[0]["what"]["display"] == "sum"


def test_a_job_that_cannot_be_recorded_fails() -> None:
    async def work() -> None:
        async with AuditedJob(recorder(FailingSink()), "nightly"):
            pass

    with pytest.raises(StoreError):
        run(work())


def test_a_change_of_the_rules_is_recorded_before_it_holds() -> None:
    sink = ListSink()
    ours = recorder(sink)

    def change(*rows: Rule) -> None:
        run(change_rules(ours, Rules(rows), by=CRON, at=CONSOLE, reason="less noise"))

    change(NOISE)
    change(NOISE, READS)
    change(READS, NOISE)
    change(READS)
    change(READS)
    subtypes = [event["subtype"][0]["code"] for event in sink.events]
    assert subtypes == ["110133", "110133", "110133", "110134"]
    assert ours.policy.rules.rows == (READS,)
    details = [row["valueString"] for row in entities(sink.events[0], "2")[0]["detail"]]
    assert details == ["less noise", "exclude interactions capabilities"]
    assert sink.events[0]["agent"][0]["who"] == {"reference": "Practitioner/1"}
    for event in sink.events:
        parsed(event)


def test_rules_that_cannot_be_recorded_do_not_hold() -> None:
    ours = recorder(FailingSink())
    with pytest.raises(StoreError):
        run(change_rules(ours, Rules((NOISE,)), by=CRON, at=CONSOLE, reason="x"))
    assert ours.policy.rules == Rules()
