"""A data folder: its events, tree and index, and what was signed of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from caretrail.errors import ConfigurationError, StoreError
from caretrail.publisher import checkpoint_store
from caretrail.publisher.anchors import Pinned, kept
from caretrail.storage import stores
from caretrail.storage.contract import LogPlace
from caretrail.storage.report import Finding, Report, sizes_of
from caretrail.tlog.policy import Policy
from caretrail.verification import signatures
from caretrail.verification.signatures import Anchored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from caretrail.verification.signatures import Signed

# More redactions than this are counted, and listed when somebody asks.
_REDACTIONS_SHOWN: Final = 10


class Verdict(NamedTuple):
    """What was found of a folder; it is whole when the report has no findings."""

    report: Report
    signed: Signed

    def findings(self) -> list[Finding]:
        """Return what does not fit, in the order of the log."""
        return sorted(self.report.findings, key=lambda one: (one.entry is None, one.entry or 0))


def verify_folder(
    folder: Path,
    *,
    url: str = "",
    store: Path | None = None,
    policy: Path | None = None,
    worm: Path | None = None,
    tsa: Path | None = None,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Verdict:
    """Check the log of a data folder; the checkpoint store is beside it unless `store` names one.

    The log is in the folder, or in the store that `url` names.

    With the write-once folder `worm` each checkpoint in it is compared; its time stamps are checked
    by the certificates in the file `tsa`. Raises ConfigurationError when something that was named
    cannot be read.
    """
    trusted = read_policy(policy) if policy is not None else None
    # Before the log is looked at: what is signed from now on may be of a larger one.
    signed, trouble = stored(folder, store)
    anchored = _anchored(worm, tsa)
    notes = list((signed or {}).values())
    if anchored is not None:
        notes += [one.note for one in anchored.kept]
    sizes = set(sizes_of(notes))
    report = stores.verify(LogPlace(folder, url), progress=progress, sizes=sizes)
    found = signatures.judge(
        report, store=signed, policy=trusted, trouble=trouble, anchored=anchored
    )
    return Verdict(report, found)


def _anchored(worm: Path | None, tsa: Path | None) -> Anchored | None:
    if worm is None:
        if tsa is not None:
            raise ConfigurationError("a data folder's --tsa goes with --worm-folder")
        return None
    if not worm.is_dir():
        raise ConfigurationError(f"there is no write-once folder {worm}")
    try:
        authority = Pinned.parse(tsa.read_bytes()) if tsa is not None else None
        return Anchored(kept(worm), authority)
    except OSError as error:
        raise ConfigurationError(f"{tsa} cannot be read ({error.strerror})") from error
    except StoreError as error:
        raise ConfigurationError(f"{worm} cannot be read") from error


def read_policy(path: Path) -> Policy:
    """Return the policy in a file; raises ConfigurationError when it is none."""
    try:
        return Policy.parse(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read ({error.strerror})") from error


def stored(folder: Path, named: Path | None) -> tuple[dict[str, bytes] | None, str]:
    """Return what the checkpoint store has, None where there is none, and what is wrong with it.

    Raises ConfigurationError when the named one is not there.
    """
    path = named or checkpoint_store.beside(folder)
    if not path.exists():
        if named is not None:
            raise ConfigurationError(f"there is no checkpoint store {named}")
        return None, ""
    try:
        return checkpoint_store.read(path), ""
    except ConfigurationError as error:
        return None, str(error)


def lines(verdict: Verdict, *, listed: bool) -> Iterator[str]:
    """Yield what to say to a person; with `listed` every redaction."""
    report, signed = verdict
    findings = verdict.findings()
    for one in findings:
        yield f"{'the log' if one.entry is None else f'entry {one.entry}'}: {one.what}"
    yield from _redactions(report, listed=listed)
    if findings:
        first = findings[0].entry
        where = "not at an entry" if first is None else f"first at entry {first}"
        yield f"NOT WHOLE: {len(findings)} findings, {where}"
    else:
        yield f"whole: {report.size} entries, root {report.root.hex()}"
        yield f"checked: {', '.join(('events', 'tree', 'index', *signed.checked))}"
    if signed.accepted is not None:
        names = ", ".join(one.name for one in signed.accepted.witnesses) or "nobody else"
        size = signed.accepted.checkpoint.size
        yield f"witnessed: the first {size} entries, by {names}"
    if signed.stamped is not None:
        size, stamp = signed.stamped
        yield f"time-stamped: the first {size} entries, at {stamp.time.isoformat()}"
    for what in (*report.unchecked, *signed.unchecked):
        yield f"not checked: {what}"


def _redactions(report: Report, *, listed: bool) -> Iterator[str]:
    """Yield a line for each redacted entry; where they are many, one for each event that says why."""
    if listed or report.erased <= _REDACTIONS_SHOWN:
        for one in report.redacted:
            for entry in range(one.first, one.last + 1):
                yield f"entry {entry}: redacted by entry {one.by} under policy {one.policy}"
        return
    counts: dict[tuple[int, str], int] = {}
    for one in report.redacted:
        key = (one.by, one.policy)
        counts[key] = counts.get(key, 0) + one.last - one.first + 1
    for (by, policy), count in counts.items():
        yield f"{count} entries: redacted by entry {by} under policy {policy} (--list names them)"


def machine(verdict: Verdict) -> dict[str, Any]:
    """Return what to say to a machine."""
    report, signed = verdict
    accepted = signed.accepted
    return {
        "whole": report.whole,
        "origin": report.origin,
        "size": report.size,
        "root": report.root.hex(),
        "findings": [{"entry": one.entry, "what": one.what} for one in verdict.findings()],
        "redacted": [one._asdict() for one in report.redacted],
        "signed_size": signed.size,
        "witnessed_size": accepted.checkpoint.size if accepted else None,
        "stamped_size": signed.stamped[0] if signed.stamped else None,
        "stamped_time": signed.stamped[1].time.isoformat() if signed.stamped else None,
        "witnesses": [one._asdict() for one in accepted.witnesses] if accepted else [],
        "checked": ["events", "tree", "index", *signed.checked],
        "not_checked": [*report.unchecked, *signed.unchecked],
    }
