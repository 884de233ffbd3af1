"""What the commands that keep a log do with a data folder: erasing, holds, keys, approval.

They open the log like the server does, which has to be stopped: one process writes. What takes two
persons (the setting `two_person_approval`) is approved first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from caretrail import approvals, opening, os_account, starting
from caretrail.approvals import Act, Person
from caretrail.errors import ParameterError
from caretrail.patterns import own
from caretrail.privacy import erasing, holds
from caretrail.storage.data_keys import Month

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from caretrail.opening import Opened
    from caretrail.privacy.erasing import Order
    from caretrail.settings import Settings


def person(name: str) -> Person:
    """Return who runs the command: by the name that was given, or else by the account."""
    who = os_account.current()
    return Person(" ".join(name.split()) or who.name, who)


async def _persons(log: Opened, settings: Settings, who: Person, act: Act) -> Mapping[str, str]:
    """Return who carries the act out and who approved, nobody where one person is enough.

    The settings of the last server count as well: a command that leaves the setting out is not
    enough to do without the second person. Raises ApprovalNeededError.
    """
    last = await starting.last_settings(log.repository) or {}
    if not settings.two_person_approval and last.get("two_person_approval") != "True":
        return own.NOBODY
    return await approvals.permit(log.repository, settings.folder, act, who)


async def _approved(log: Opened, settings: Settings, who: Person, order: Order, act: Act) -> Order:
    """Return the order with the person who has approved it, where that takes two."""
    erasing.check(order)
    arguments = (*act.arguments, ("policy", order.policy), ("requester", order.requester))
    persons = await _persons(log, settings, who, Act(act.command, arguments))
    if not persons:
        return order
    names = dict(persons)
    approver = names.pop("approver")
    if order.approver not in ("", approver):
        raise ParameterError("--approver is not who approved it: leave it out")
    return order._replace(approver=approver, persons=names)


async def approve(
    settings: Settings, approval: str, who: Person, say: Callable[[str], None]
) -> None:
    """Approve what another person asked for, or list what waits."""
    async with opening.opened(settings) as log:
        if approval:
            asked = await approvals.approve(log.repository, settings.folder, approval, who)
            say(f"{who.name} approves what {asked.requester} asked for:")
            for line in asked.act.lines():
                say(f"  {line}")
            return
        found = await approvals.waiting(log.repository, settings.folder)
        for asked in found:
            say(f"{asked.id}: {asked.requester} asked, until {asked.expires}")
            for line in asked.act.lines():
                say(f"  {line}")
        if not found:
            say("nothing waits for approval")


async def redact(
    settings: Settings,
    event_ids: Sequence[str],
    order: Order,
    who: Person,
    say: Callable[[str], None],
) -> None:
    """Erase the contents of some events."""
    async with opening.opened(settings) as log:
        act = Act("redact", tuple(("event", one) for one in event_ids))
        order = await _approved(log, settings, who, order, act)
        for entry in await erasing.redact(log.repository, event_ids, order):
            say(f"entry {entry}: its content is erased, its leaf stays")


async def retain(
    settings: Settings,
    before: str,
    order: Order,
    who: Person,
    *,
    only_count: bool,
    progress: Callable[[int, int], None],
    say: Callable[[str], None],
) -> None:
    """Erase what is past its retention and under no hold."""
    async with opening.opened(settings) as log:
        if not only_count:
            erasing.limit_of(before)  # Nobody is asked to approve what cannot be done.
            order = await _approved(log, settings, who, order, Act("retain", (("before", before),)))
        run = await erasing.retain(
            log.repository,
            before=before,
            order=order,
            only_count=only_count,
            progress=progress,
        )
        erased = "nothing was erased (--dry-run)" if only_count else f"{run.erased} erased"
        say(f"{run.due} events are past their retention, {run.held} of them held; {erased}")


async def shred(
    settings: Settings, month: str, order: Order, who: Person, say: Callable[[str], None]
) -> None:
    """Erase a month and destroy its data key."""
    async with opening.opened(settings) as log:
        wanted = Month.parse(month)
        order = await _approved(log, settings, who, order, Act("shred", (("month", month),)))
        count = await erasing.shred(
            log.repository, log.repository.speaking(), month=wanted, order=order
        )
        say(f"{count} events erased; the data key of {month} is destroyed")


async def place_hold(
    settings: Settings, query: str, reason: str, say: Callable[[str], None]
) -> None:
    """Place a legal hold on what a search finds."""
    async with opening.opened(settings) as log:
        hold = await holds.place(log.repository, query, reason)
        say(f"hold {hold.number} is in force")


async def lift_hold(
    settings: Settings, number: int, reason: str, who: Person, say: Callable[[str], None]
) -> None:
    """End a legal hold."""
    async with opening.opened(settings) as log:
        act = Act("hold --lift", (("hold", str(number)), ("reason", reason)))
        persons = await _persons(log, settings, who, act)
        hold = await holds.lift(log.repository, number, reason, persons=persons)
        say(f"hold {hold.number} is lifted")


async def list_holds(settings: Settings, say: Callable[[str], None]) -> None:
    """Say which holds are in force."""
    async with opening.opened(settings) as log:
        found = await holds.in_force(log.repository)
        for hold in found:
            say(f"hold {hold.number}: {hold.query} ({hold.reason})")
        if not found:
            say("no hold is in force")


async def recover(settings: Settings, say: Callable[[str], None]) -> None:
    """Let a restored log go on under another name."""
    origin = await opening.recover(settings)
    say(f"the log goes on as {origin}: give its new key to the witnesses and to those who verify")


async def rotate_key(
    settings: Settings, following: Path, who: Person, say: Callable[[str], None]
) -> None:
    """Let another key take over."""
    act = Act("rotate-key", (("to", str(following.absolute())),))
    async with opening.opened(settings) as log:
        persons = await _persons(log, settings, who, act)
    key = await opening.rotate_key(settings, following, persons=persons)
    say("the next start signs with the new key; give it to the witnesses and to those who verify:")
    say(f"  {key}")
