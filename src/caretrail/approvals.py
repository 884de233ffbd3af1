"""Two persons for one act: one asks for it, another approves, then the first carries it out.

What was asked for is a file in the data folder; that it was asked for, approved and carried out are
events in the log, with a digest of the file. Only what the log says counts: a file that somebody
wrote or changed is worth nothing.
"""

from __future__ import annotations

import secrets
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from caretrail import durable_file
from caretrail.errors import ApprovalNeededError, NotFoundError, ParameterError
from caretrail.fhir import temporal
from caretrail.limits import APPROVAL_FILE_BYTES_MAX, APPROVAL_SECONDS, APPROVALS_WAITING_MAX
from caretrail.patterns import own

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from caretrail.os_account import Account
    from caretrail.repository import Repository

FOLDER: Final = "approvals"
_REQUESTED, _APPROVED, _DONE = "requested", "approved", "carried out"
_ID_BYTES: Final = 8


class Person(NamedTuple):
    """Who stands at the terminal: the name that was given, and the account of the machine."""

    name: str
    account: Account

    @property
    def details(self) -> str:
        """Return the account as an event tells it."""
        return f"{self.account.name} ({self.account.number})"


class Act(msgspec.Struct, frozen=True):
    """What is asked for: a command and its arguments, as pairs."""

    command: str
    arguments: tuple[tuple[str, str], ...]

    def lines(self) -> Iterator[str]:
        """Yield the act as an approver reads it."""
        yield f"caretrail {self.command}"
        yield from (f"  {name}: {value}" for name, value in self.arguments if value)


class Asked(msgspec.Struct, frozen=True):
    """A request: its file's content. The digest over it is in the log."""

    id: str
    act: Act
    requester: str
    account: int
    expires: str

    @property
    def digest(self) -> str:
        """Return what the log says of the content."""
        return sha256(msgspec.json.encode(self)).hexdigest()


class _Told(NamedTuple):
    """What the log says of one approval: its states in order, and all details."""

    states: tuple[str, ...]
    details: Mapping[str, str]


async def permit(repository: Repository, folder: Path, act: Act, person: Person) -> dict[str, str]:
    """Return who approved the act, and record that it is now carried out: once.

    Where nobody has yet, it is asked for. Raises ApprovalNeededError with what to do.
    """
    told = await _told(repository)
    now = repository.speaking().recorded
    for asked in _waiting(folder, told, now):
        if asked.act != act or asked.requester != person.name:
            continue
        found = told[asked.id]
        if _APPROVED not in found.states:
            raise ApprovalNeededError(_next(asked))
        names = {
            "approval": asked.id,
            "operator": person.name,
            "operator-account": person.details,
            "approver": found.details["approver"],
        }
        await _say(repository, _DONE, names | {"command": act.command, "digest": asked.digest})
        _file(folder, asked.id).unlink(missing_ok=True)
        return names
    raise ApprovalNeededError(_next(await _ask(repository, folder, act, person, told)))


async def approve(repository: Repository, folder: Path, approval: str, person: Person) -> Asked:
    """Approve what was asked for; raise NotFoundError, or ParameterError for the same person."""
    told = await _told(repository)
    now = repository.speaking().recorded
    asked = next((one for one in _waiting(folder, told, now) if one.id == approval), None)
    if asked is None:
        raise NotFoundError("no request with this id waits: it is used, expired or was changed")
    if _APPROVED in told[asked.id].states:
        raise ParameterError("this request is approved already")
    if asked.requester.casefold() == person.name.casefold():
        raise ParameterError("who asked cannot approve: a second person does, under another name")
    is_same = "yes" if asked.account == person.account.number else "no"
    await _say(
        repository,
        _APPROVED,
        {
            "approval": asked.id,
            "command": asked.act.command,
            "digest": asked.digest,
            "approver": person.name,
            "approver-account": person.details,
            "one-account": is_same,
        },
    )
    return asked


async def waiting(repository: Repository, folder: Path) -> list[Asked]:
    """Return the requests that are neither carried out nor expired."""
    now = repository.speaking().recorded
    return list(_waiting(folder, await _told(repository), now))


async def _ask(
    repository: Repository, folder: Path, act: Act, person: Person, told: Mapping[str, _Told]
) -> Asked:
    recorded = repository.speaking().recorded
    open_ids = {one.id for one in _waiting(folder, told, recorded)}
    if len(open_ids) >= APPROVALS_WAITING_MAX:
        raise ParameterError("too many requests wait: approve them, or let them expire")
    for past in told.keys() - open_ids:
        _file(folder, past).unlink(missing_ok=True)
    now = temporal.instant(recorded).milliseconds
    asked = Asked(
        id=secrets.token_hex(_ID_BYTES),
        act=act,
        requester=person.name,
        account=person.account.number,
        expires=temporal.format_instant(now + APPROVAL_SECONDS * 1000),
    )
    (folder / FOLDER).mkdir(mode=0o700, exist_ok=True)
    durable_file.create(_file(folder, asked.id), msgspec.json.encode(asked), mode=0o600)
    await _say(
        repository,
        _REQUESTED,
        {
            "approval": asked.id,
            "command": act.command,
            "digest": asked.digest,
            "requester": person.name,
            "requester-account": person.details,
            "expires": asked.expires,
        },
    )
    return asked


def _next(asked: Asked) -> str:
    return (
        f"a second person has to approve this: `caretrail approve {asked.id}` before"
        f" {asked.expires}; then run the same command again"
    )


def _file(folder: Path, approval: str) -> Path:
    return folder / FOLDER / f"{approval}.json"


def _waiting(folder: Path, told: Mapping[str, _Told], now: str) -> Iterator[Asked]:
    """Yield the requests whose file is the one that the log tells of, and which still count."""
    for file in sorted((folder / FOLDER).glob("*.json")):
        try:
            if file.stat().st_size > APPROVAL_FILE_BYTES_MAX:
                continue
            asked = msgspec.json.decode(file.read_bytes(), type=Asked)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            continue  # Not ours, or damaged: it approves nothing.
        found = told.get(asked.id)
        if found is None or found.details.get("digest") != asked.digest:
            continue
        if _DONE not in found.states and asked.expires > now:
            yield asked


async def _told(repository: Repository) -> dict[str, _Told]:
    """Return what the log says of every approval. The first request of an id is the one."""
    found: dict[str, _Told] = {}
    async for record in repository.own_facts(own.APPROVAL):
        details = own.details_of(record.event)
        known = found.get(details.get("approval", ""), _Told((), {}))
        states = (*known.states, details.get("state", ""))
        found[details.get("approval", "")] = _Told(states, {**details, **known.details})
    return found


async def _say(repository: Repository, state: str, details: Mapping[str, str]) -> None:
    log = repository.speaking()
    await repository.record_own(own.approval(log, state=state, details=details))
