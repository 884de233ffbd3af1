"""What was signed of a log, against the log: keys, kept checkpoints, the checkpoint store, a policy.

The tree was computed from the leaves before (`Report.roots`). Nothing that the database says of
itself is taken for granted here: a key counts where an event of the log announced it, a name where
a recovery gave it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from caretrail.errors import UnavailableError, VerificationError
from caretrail.patterns.succession import KeysChanged, Recovered
from caretrail.tlog.checkpoint import Checkpoint
from caretrail.tlog.key_history import KeyHistory
from caretrail.tlog.note import Note

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from caretrail.publisher.anchors import Kept, Pinned, TimeStamp
    from caretrail.storage.report import Report
    from caretrail.tlog.policy import Accepted, Policy

NO_STORE: Final = (
    "checkpoint store (there is none here: that the log was rolled back, cut off or made anew"
    " would not show)"
)
NO_POLICY: Final = "witnesses (no --policy was given)"
_NO_AUTHORITY: Final = "time stamps (no --tsa was given)"
_NO_KEYS: Final = "signatures (this log has no key yet)"
_NO_NOTES: Final = "signatures (no signed checkpoint is kept)"


@dataclass(slots=True)
class Signed:
    """What was found about signatures, beside the findings, which go to the report.

    `size` is the largest tree that was signed, `accepted` what the policy accepts, `stamped` the
    largest tree with a time stamp, and that.
    """

    checked: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    size: int | None = None
    accepted: Accepted | None = None
    stamped: tuple[int, TimeStamp] | None = None


class Anchored(NamedTuple):
    """What a write-once folder has, and by whom its time stamps are believed, if by anybody."""

    kept: Sequence[Kept]
    authority: Pinned | None


def judge(
    report: Report,
    *,
    store: Mapping[str, bytes] | None,
    policy: Policy | None = None,
    trouble: str = "",
    anchored: Anchored | None = None,
) -> Signed:
    """Compare what was signed with the tree; findings are added to the report.

    `store` has the last signed checkpoints by origin, None where there is no store, or where it
    cannot be read, which `trouble` says.
    """
    found = _Judge(report).run(store, policy, anchored)
    if trouble:
        # It is there, and it cannot be compared: that is more than not having been checked.
        report.add(None, trouble)
        found.unchecked.remove(NO_STORE)
    return found


class _Judge:
    def __init__(self, report: Report) -> None:
        self._report = report
        self._found = Signed()
        self._names = [f"caretrail/{report.log.hex()}"]
        self._history: KeyHistory | None = None
        self._notes: list[Note] = []

    def run(
        self,
        store: Mapping[str, bytes] | None,
        policy: Policy | None,
        anchored: Anchored | None,
    ) -> Signed:
        self._follow_names()
        self._read_history()
        self._check_notes()
        self._check_store(store)
        if anchored is not None:
            self._check_anchors(anchored)
        self._check_policy(policy)
        return self._found

    def _follow_names(self) -> None:
        """See that a name other than the first was given by a recovery that the log has."""
        for entry, change in self._report.changes:
            if isinstance(change, Recovered):
                if change.before != self._names[-1]:
                    self._report.add(entry, "a recovery goes on from a name that the log had not")
                self._names.append(change.origin)
        if self._report.origin != self._names[-1]:
            self._report.add(None, "the log has a name that no recovery of it has given")

    def _read_history(self) -> None:
        """See that the history of keys is whole, and each rotation is announced by an event."""
        if not self._report.keys:
            return
        try:
            history = KeyHistory.parse(self._report.keys)
            if history.origin != self._report.origin:
                raise VerificationError("the key history is of another log")
        except VerificationError as error:
            self._report.add(None, str(error))
            return
        self._history = history
        announced = self._announced()
        for period in history.periods[1:]:
            keys = tuple([key.format() for key in period.keys])
            # The checkpoint over the announcement is the last that the key before signs.
            if not any(
                one.since == period.since and one.keys == keys and entry + 1 < period.since
                for entry, one in announced
            ):
                what = f"the keys from size {period.since} on are not announced by an event before"
                self._report.add(None, what)
        if announced and announced[-1][1].since not in {one.since for one in history.periods}:
            what = "the keys that the log announces here are not in its key history"
            self._report.add(announced[-1][0], what)

    def _announced(self) -> list[tuple[int, KeysChanged]]:
        """Return the rotations since the log has its present name."""
        found: list[tuple[int, KeysChanged]] = []
        for entry, change in self._report.changes:
            if isinstance(change, KeysChanged):
                found.append((entry, change))
            else:
                found.clear()
        return found

    def _check_notes(self) -> None:
        """See that each checkpoint that is kept inside is signed, and of this tree."""
        for data in self._report.notes:
            try:
                note = Note.parse(data)
                checkpoint = Checkpoint.parse(note.text)
                self._open(note, checkpoint)
            except VerificationError as error:
                self._report.add(None, f"a checkpoint that is kept: {error}")
                continue
            if checkpoint.origin == self._report.origin:
                self._notes.append(note)
        if not self._report.keys:
            self._found.unchecked.append(_NO_KEYS)
        elif not self._notes:
            self._found.unchecked.append(_NO_NOTES)
        else:
            self._found.checked.append("signed checkpoints")

    def _open(self, note: Note, checkpoint: Checkpoint) -> None:
        if checkpoint.origin in self._names[:-1] and checkpoint.origin != self._report.origin:
            # Its keys went with the name; that it is of this tree can be said all the same.
            what = "signatures under names that the log had before a recovery"
            if what not in self._found.unchecked:
                self._found.unchecked.append(what)
        elif self._history is None:
            raise VerificationError("the log has no key that could have signed it")
        else:
            self._history.open(note)
        self._compare(checkpoint)

    def _compare(self, checkpoint: Checkpoint) -> None:
        size = self._report.size
        if checkpoint.size > size:
            raise VerificationError(
                f"{checkpoint.size} entries were signed, and {size} are here:"
                " the log was rolled back, or its end was cut off"
            )
        if self._report.roots.get(checkpoint.size) != checkpoint.root:
            raise VerificationError(
                f"the first {checkpoint.size} entries are not those that were signed:"
                " they were changed, or the log ran twice"
            )
        if checkpoint.origin == self._report.origin:
            self._found.size = max(checkpoint.size, self._found.size or 0)

    def _check_store(self, store: Mapping[str, bytes] | None) -> None:
        if store is None:
            self._found.unchecked.append(NO_STORE)
            return
        data = store.get(self._report.origin)
        if data is None:
            if self._report.keys or store:
                what = "the checkpoint store has no checkpoint of this log: it is another log's"
                self._report.add(None, what)
            else:
                self._found.unchecked.append(NO_STORE)
            return
        self._found.checked.append("checkpoint store")
        try:
            note = Note.parse(data)
            if self._history is None:
                raise VerificationError("the log has no key that could have signed it")
            self._compare(self._history.open(note).checkpoint)
            self._notes.append(note)
        except VerificationError as error:
            self._report.add(None, f"the checkpoint store: {error}")

    def _check_anchors(self, anchored: Anchored) -> None:
        """See that each checkpoint of the write-once folder is of this tree, and stamped as it is."""
        stamps = 0
        for one in anchored.kept:
            try:
                note = Note.parse(one.note)
                checkpoint = Checkpoint.parse(note.text)
                if str(checkpoint.size) != one.size:
                    raise VerificationError("its name is not its size")
                self._open(note, checkpoint)
                if one.stamp is None:
                    continue
                stamps += 1
                if anchored.authority is not None:
                    stamp = anchored.authority.verify(one.stamp, one.note)
                    self._found.stamped = checkpoint.size, stamp
            except (VerificationError, UnavailableError) as error:
                self._report.add(None, f"the write-once folder, {one.size}.checkpoint: {error}")
        kept = self._found.checked if anchored.kept else self._found.unchecked
        kept.append(f"checkpoints of the write-once folder ({len(anchored.kept)})")
        if anchored.authority is None:
            self._found.unchecked.append(_NO_AUTHORITY)
        else:
            believed = self._found.checked if stamps else self._found.unchecked
            believed.append(f"time stamps ({stamps})")

    def _check_policy(self, policy: Policy | None) -> None:
        """Find the largest checkpoint that the policy accepts."""
        if policy is None:
            self._found.unchecked.append(NO_POLICY)
            return
        self._found.checked.append("policy")
        why = "there is no checkpoint of this log"
        for note in sorted(self._notes, key=lambda one: -Checkpoint.parse(one.text).size):
            try:
                self._found.accepted = policy.accept(note)
            except VerificationError as error:
                why = str(error)
            else:
                return
        self._report.add(None, f"the policy accepts no checkpoint that is kept: {why}")
