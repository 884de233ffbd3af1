"""Two persons for what cannot be undone: nothing is done before, and the act names both."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from caretrail import approvals, custody
from caretrail.approvals import Act, Person
from caretrail.cli import commands
from caretrail.errors import ApprovalNeededError, NotFoundError, ParameterError
from caretrail.limits import APPROVALS_WAITING_MAX
from caretrail.os_account import Account
from caretrail.patterns import own
from caretrail.privacy import holds
from caretrail.storage.sqlite import verify
from tests.opening.logs import append, run, settings
from tests.opening.test_starting import said, serve
from tests.privacy.test_erasing import marked

if TYPE_CHECKING:
    from pathlib import Path

    from caretrail.opening import Opened

ADA = Person("Ada", Account("ada", 1001))
BEN = Person("Ben", Account("ben", 1002))
ACT = Act("retain", (("before", "2020-01-01T00:00:00Z"), ("policy", "10 years")))


def command(tmp_path: Path, *arguments: str) -> Any:
    return CliRunner().invoke(commands, [*arguments, "--data", str(tmp_path / "log")])


def told(tmp_path: Path, subtype: str) -> list[dict[str, str]]:
    async def work(log: Opened) -> list[dict[str, str]]:
        return [details for kind, details in await said(log.repository) if subtype in kind]

    return run(settings(tmp_path), work)


def test_nothing_is_done_before_a_second_person_has_approved(tmp_path: Path) -> None:
    async def work(log: Opened) -> None:
        repository, folder = log.repository, tmp_path / "log"
        with pytest.raises(ApprovalNeededError, match="caretrail approve") as first:
            await approvals.permit(repository, folder, ACT, ADA)
        (asked,) = await approvals.waiting(repository, folder)
        assert asked.id in str(first.value)
        # The same command again asks for nothing new, and another person's not for this.
        with pytest.raises(ApprovalNeededError, match=asked.id):
            await approvals.permit(repository, folder, ACT, ADA)
        for name in ("Ada", "ADA"):
            with pytest.raises(ParameterError, match="second person"):
                await approvals.approve(repository, folder, asked.id, BEN._replace(name=name))
        assert await approvals.approve(repository, folder, asked.id, BEN) == asked
        with pytest.raises(ParameterError, match="already"):
            await approvals.approve(repository, folder, asked.id, BEN)
        # Neither another act nor another person is approved with it.
        other = Act("retain", (("before", "2021-01-01T00:00:00Z"), ("policy", "10 years")))
        for act, person in ((other, ADA), (ACT, BEN)):
            with pytest.raises(ApprovalNeededError):
                await approvals.permit(repository, folder, act, person)
        names = await approvals.permit(repository, folder, ACT, ADA)
        assert (names["operator"], names["approver"]) == ("Ada", "Ben")
        # Once.
        with pytest.raises(ApprovalNeededError):
            await approvals.permit(repository, folder, ACT, ADA)
        with pytest.raises(NotFoundError):
            await approvals.approve(repository, folder, asked.id, BEN)

    run(settings(tmp_path), work)
    states = [(row["state"], row.get("approver")) for row in told(tmp_path, own.APPROVAL.code)]
    assert ("approved", "Ben") in states
    assert ("carried out", "Ben") in states


def test_a_file_that_somebody_wrote_or_changed_is_worth_nothing(tmp_path: Path) -> None:
    async def work(log: Opened) -> None:
        repository, folder = log.repository, tmp_path / "log"
        with pytest.raises(ApprovalNeededError):
            await approvals.permit(repository, folder, ACT, ADA)
        (asked,) = await approvals.waiting(repository, folder)
        await approvals.approve(repository, folder, asked.id, BEN)
        file = folder / approvals.FOLDER / f"{asked.id}.json"
        body = json.loads(file.read_text())
        for changes in (
            {"expires": "2999-01-01T00:00:00.000Z"},
            {"requester": "Eve"},
            {"id": "00"},
            {"act": {"command": "shred", "arguments": []}},
        ):
            file.write_text(json.dumps(body | changes))
            assert await approvals.waiting(repository, folder) == []
        for broken in (b"", b"{", b"\xff", b"x" * (1024 * 1024 + 1)):
            file.write_bytes(broken)
            assert await approvals.waiting(repository, folder) == []
        with pytest.raises(NotFoundError):
            await approvals.approve(repository, folder, asked.id, BEN)

    run(settings(tmp_path), work)


def test_what_is_asked_for_expires(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(log: Opened) -> None:
        repository, folder = log.repository, tmp_path / "log"
        with monkeypatch.context() as patched:
            patched.setattr(approvals, "APPROVAL_SECONDS", -1)
            with pytest.raises(ApprovalNeededError):
                await approvals.permit(repository, folder, ACT, ADA)
        (file,) = (folder / approvals.FOLDER).glob("*.json")
        with pytest.raises(NotFoundError, match="expired"):
            await approvals.approve(repository, folder, file.stem, BEN)
        # Asking again takes the old file away.
        with pytest.raises(ApprovalNeededError):
            await approvals.permit(repository, folder, ACT, ADA)
        assert not file.exists()

    run(settings(tmp_path), work)


def test_only_so_much_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert APPROVALS_WAITING_MAX >= 10
    monkeypatch.setattr(approvals, "APPROVALS_WAITING_MAX", 2)

    async def work(log: Opened) -> None:
        for number in range(2):
            with pytest.raises(ApprovalNeededError):
                await approvals.permit(
                    log.repository, tmp_path / "log", Act("shred", (("n", str(number)),)), ADA
                )
        with pytest.raises(ParameterError, match="too many"):
            await approvals.permit(log.repository, tmp_path / "log", ACT, ADA)

    run(settings(tmp_path), work)


def test_the_commands_ask_and_the_act_names_both(tmp_path: Path) -> None:
    run(settings(tmp_path), append(marked(0)))
    erase = ["retain", "--before", "2020-01-01T00:00:00Z", "--policy", "10 years"]
    erase += ["--requester", "records", "--two-person-approval"]
    assert command(tmp_path, *erase, "--dry-run").exit_code == 0
    asked = command(tmp_path, *erase, "--as", "Ada")
    assert isinstance(asked.exception, ApprovalNeededError)
    request = str(asked.exception).partition("`caretrail approve ")[2].partition("`")[0]
    listed = command(tmp_path, "approve").output
    assert f"{request}: Ada asked" in listed
    assert "before: 2020-01-01T00:00:00Z" in listed
    assert isinstance(
        command(tmp_path, "approve", request, "--as", "ada").exception, ParameterError
    )
    approved = command(tmp_path, "approve", request, "--as", "Ben")
    assert approved.exit_code == 0
    assert "caretrail retain" in approved.output
    wrong = command(tmp_path, *erase, "--as", "Eve", "--approver", "Ben")
    assert isinstance(wrong.exception, ApprovalNeededError)
    done = command(tmp_path, *erase, "--as", "Ada")
    assert done.exit_code == 0, done.exception
    assert "1 erased" in done.output
    erasures = told(tmp_path, own.OBJECT_SECURITY_CHANGED.code)
    assert [row["operator"] for row in erasures] == ["Ada", "Ada"]
    assert erasures[-1]["approver"] == "Ben"
    assert {row["approval"] for row in erasures} == {request}
    # One account of this machine gave both names, and the log says so.
    (approval,) = [row for row in told(tmp_path, own.APPROVAL.code) if row["state"] == "approved"]
    assert approval["one-account"] == "yes"
    assert verify(tmp_path / "log").findings == []
    assert "nothing waits" not in command(tmp_path, "approve").output  # Eve's still does.


def test_leaving_the_setting_out_is_not_enough(tmp_path: Path) -> None:
    serve(settings(tmp_path, two_person_approval=True))
    held = command(tmp_path, "hold", "--query", "patient=Patient/1", "--reason", "case")
    assert held.exit_code == 0, held.exception
    lift = ["hold", "--lift", "1", "--reason", "closed", "--as", "Ada"]
    assert isinstance(command(tmp_path, *lift).exception, ApprovalNeededError)
    shred = ["shred", "2016-03", "--policy", "p", "--requester", "r"]
    assert isinstance(command(tmp_path, *shred).exception, ApprovalNeededError)
    redact = ["redact", "x", "--policy", "p", "--requester", "r"]
    assert isinstance(command(tmp_path, *redact).exception, ApprovalNeededError)
    turned = command(tmp_path, "rotate-key", "--to", str(tmp_path / "new.pem"))
    assert isinstance(turned.exception, ApprovalNeededError)
    assert not (tmp_path / "new.pem").exists()

    async def work(log: Opened) -> int:
        return len(await holds.in_force(log.repository))

    assert run(settings(tmp_path), work) == 1
    # With the setting off a server's start is needed first, and that is told.
    serve(settings(tmp_path))
    assert command(tmp_path, *lift).exit_code == 0
    assert any(
        row.get("after:two_person_approval") == "False" for row in told(tmp_path, own.SETTINGS.code)
    )


def test_another_key_and_the_end_of_a_hold_name_both(tmp_path: Path) -> None:
    both = ["--two-person-approval"]
    command(tmp_path, "hold", "--query", "patient=Patient/1", "--reason", "case")
    for arguments in (
        ["hold", "--lift", "1", "--reason", "closed", *both],
        ["rotate-key", "--to", str(tmp_path / "new.pem"), *both],
    ):
        asked = command(tmp_path, *arguments, "--as", "Ada")
        request = str(asked.exception).partition("`caretrail approve ")[2].partition("`")[0]
        assert command(tmp_path, "approve", request, "--as", "Ben").exit_code == 0
        done = command(tmp_path, *arguments, "--as", "Ada")
        assert done.exit_code == 0, done.exception
    lifted = told(tmp_path, own.OBJECT_SECURITY_CHANGED.code)[-1]
    (turned,) = [row for row in told(tmp_path, "110129") if "key-since" in row]
    for row in (lifted, turned):
        assert (row["operator"], row["approver"]) == ("Ada", "Ben")


def test_another_approver_than_the_one_who_did_is_refused(tmp_path: Path) -> None:
    erase = ["redact", "x", "--policy", "p", "--requester", "r", "--two-person-approval"]
    asked = command(tmp_path, *erase, "--as", "Ada")
    request = str(asked.exception).partition("`caretrail approve ")[2].partition("`")[0]
    command(tmp_path, "approve", request, "--as", "Ben")
    wrong = command(tmp_path, *erase, "--as", "Ada", "--approver", "Eve")
    assert "--approver" in str(wrong.exception)


@pytest.mark.parametrize(
    "arguments",
    [
        ["retain", "--before", "yesterday", "--policy", "p", "--requester", "r"],
        ["retain", "--before", "2020-01-01T00:00:00Z", "--policy", "", "--requester", "r"],
        ["shred", "last month", "--policy", "p", "--requester", "r"],
    ],
)
def test_nobody_is_asked_to_approve_what_cannot_be_done(
    tmp_path: Path, arguments: list[str]
) -> None:
    refused = command(tmp_path, *arguments, "--two-person-approval")
    assert isinstance(refused.exception, ParameterError)
    assert not (tmp_path / "log" / approvals.FOLDER).exists()


def test_a_person_is_known_by_the_name_given_or_by_the_account() -> None:
    assert custody.person("  Ada \n Testfield ").name == "Ada Testfield"
    assert custody.person("").name == custody.person("x").account.name
