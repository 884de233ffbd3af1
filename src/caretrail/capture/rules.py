"""Changing what is recorded, which is itself recorded, before it takes effect (ONC (d)(2)(i)(B))."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from caretrail import clock
from caretrail.capture.recorder import request_id
from caretrail.patterns import security
from caretrail.patterns.claims import settled
from caretrail.patterns.observation import Observation

if TYPE_CHECKING:
    from caretrail.capture.recorder import Recorder
    from caretrail.patterns.exchange import Identity
    from caretrail.patterns.observation import Machine
    from caretrail.patterns.rules import Rules


async def change_rules(
    recorder: Recorder, rules: Rules, *, by: Identity, at: Machine, reason: str
) -> None:
    """Let `recorder` follow `rules` once the events of the change are kept.

    `by` is who changed them, from the machine `at`. A rule that excludes stops recording (DICOM
    110133), and its end starts it again (110134). If the sink fails, the old rules stay.
    """
    before, after = recorder.policy.rules.rows, rules.rows
    stopped = [rule for rule in after if not rule.include and rule not in before]
    resumed = [rule for rule in before if not rule.include and rule not in after]
    changes = [(False, rule.text()) for rule in stopped]
    changes += [(True, rule.text()) for rule in resumed]
    if before != after and not changes:
        # Another order, or another exception: what is left out has changed all the same.
        changes = [(False, rules.text())]
    observed = Observation(
        recorded=clock.instant(),
        client=at,
        server=recorder.server,
        user=by.user,
        credential=by.credential,
        organization=by.organization,
        purposes=by.purposes,
        request_id=request_id(None),
        site=recorder.site,
    )
    made = [
        settled(security.audit_recording(observed, started=started, reason=reason, scope=scope))
        for started, scope in changes
    ]
    await recorder.keep(made)
    recorder.policy = replace(recorder.policy, rules=rules)
