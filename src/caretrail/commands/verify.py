"""What `caretrail verify` does with a data folder, an evidence bundle and an address."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cryptography.x509 import load_pem_x509_certificates

from caretrail import config
from caretrail.errors import ConfigurationError
from caretrail.evidence import verify as bundles
from caretrail.verification import folder as folder_report
from caretrail.verification import remote
from caretrail.verification.folder import read_policy, verify_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cryptography.x509 import Certificate


class Looking(NamedTuple):
    """How a verification is done: the options of `caretrail verify`, and where to say how far it is."""

    data: Path
    policy: Path | None
    worm: Path | None
    tsa: Path | None
    store: Path | None
    memory: Path | None
    token: Path | None
    entries: bool
    listed: bool
    json: bool
    progress: Callable[[int, int], None]


def verify_target(target: str, looking: Looking) -> tuple[Iterable[str], bool]:
    """Check a data folder, the URL of a store, an evidence bundle or a running log; return what to say, and if it holds."""
    if target.startswith(("http://", "https://")):
        return _verify_url(target, looking)
    if "://" not in target and Path(target).is_file():
        return _verify_bundle(Path(target), looking)
    url = target if "://" in target else ""
    verdict = verify_folder(
        looking.data if url else Path(target),
        url=url,
        store=looking.store,
        policy=looking.policy,
        worm=looking.worm,
        tsa=looking.tsa,
        progress=looking.progress,
    )
    report = verdict.report
    if looking.json:
        return [json.dumps(folder_report.machine(verdict), indent=1)], report.whole
    return folder_report.lines(verdict, listed=looking.listed), report.whole


def _verify_bundle(path: Path, looking: Looking) -> tuple[Iterable[str], bool]:
    policy = config.content(looking.policy) if looking.policy is not None else None
    check = bundles.Check(config.content(path), policy, _authorities(looking.tsa))
    if looking.json:
        return [json.dumps(bundles.machine(check), indent=1)], check.holds()
    return map(bundles.printable, bundles.page(check)), check.holds()


def _authorities(path: Path | None) -> list[Certificate]:
    """Return the certificates in a file: whom the auditor trusts with the time."""
    if path is None:
        return []
    try:
        return load_pem_x509_certificates(config.content(path))
    except ValueError as error:
        raise ConfigurationError(f"{path} does not have certificates in PEM") from error


def _verify_url(url: str, looking: Looking) -> tuple[Iterable[str], bool]:
    seen = remote.verify_url(
        url,
        policy=read_policy(looking.policy) if looking.policy is not None else None,
        memory=looking.memory,
        token=config.token(looking.token) if looking.token is not None else "",
        entries=looking.entries,
        progress=looking.progress,
    )
    holds = not seen.findings
    if looking.json:
        return [json.dumps(remote.machine(seen), indent=1)], holds
    return map(bundles.printable, remote.lines(seen)), holds
