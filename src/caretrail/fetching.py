"""An export made by a running server, begun and fetched over HTTP (FHIR Bulk Data, client)."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any, Final

import httpx

from caretrail.errors import ConfigurationError, StoreError, UnavailableError
from caretrail.limits import FETCH_SECONDS_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

Pairs = list[tuple[str, str]]

_JOBS: Final = "/fhir/$export/"
_MODE: Final = 0o600
_WAIT_SECONDS_MAX: Final = 60.0
_MISTAKES: Final = range(400, 500)


def parameters(
    *,
    media: str,
    query: str,
    subjects: Sequence[str],
    start: int | None,
    end: int | None,
    after: int | None,
) -> Pairs:
    """Return the parameters of `$export` that say the same as the options of the command."""
    pairs: Pairs = [("_outputFormat", media)]
    rest = "" if after is None else f"sequence=gt{after}"
    search = "&".join(filter(None, (query.removeprefix("AuditEvent?"), rest)))
    if search:
        pairs.append(("_typeFilter", f"AuditEvent?{search}"))
    pairs += [("_subject", one) for one in subjects]
    pairs += [(n, str(v)) for n, v in (("_start", start), ("_end", end)) if v is not None]
    return pairs


def fetch(
    server: str,
    token: str,
    pairs: Pairs,
    out: Path,
    *,
    on_progress: Callable[[str], None] = lambda _: None,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Have the server export, and write the file to `out`; return how many events are in it.

    What is asked travels in the body, so that no proxy notes it down. Raises ConfigurationError
    for what the server refuses, and UnavailableError when it does not answer or fails.
    """
    if out.exists():
        raise ConfigurationError(f"{out} is there already: choose another file")
    headers = {"Authorization": f"Bearer {token}"}
    try:
        with httpx.Client(headers=headers, timeout=FETCH_SECONDS_MAX) as client:
            server = server.rstrip("/")
            address = _here(server, _begin(client, server, pairs))
            try:
                manifest = _wait(client, address, on_progress, sleep)
                _save(client, [_here(server, one["url"]) for one in manifest["output"]], out)
            finally:
                client.delete(address)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UnavailableError(f"the server does not answer ({type(error).__name__})") from error
    except (KeyError, TypeError, ValueError) as error:
        raise UnavailableError("the server's answer is not one of Bulk Data") from error
    return sum(int(one["count"]) for one in manifest["output"])


def _begin(client: httpx.Client, server: str, pairs: Pairs) -> str:
    names: dict[str, list[str]] = {}
    for name, value in pairs:
        names.setdefault(name, []).append(value)
    wanted = {"Prefer": "respond-async", "Accept": "application/fhir+json"}
    answer = client.post(f"{server}/fhir/AuditEvent/$export", data=names, headers=wanted)
    _check(answer, 202)
    return answer.headers["content-location"]


def _here(server: str, address: str) -> str:
    """Return the address at the server that we know: the token goes to no other one.

    Behind a proxy the server may name itself otherwise than we do.
    """
    _, found, rest = address.partition(_JOBS)
    if not found:
        raise ValueError("the address is not of an export")
    return f"{server}{_JOBS}{rest}"


def _wait(
    client: httpx.Client,
    address: str,
    on_progress: Callable[[str], None],
    sleep: Callable[[float], None],
) -> dict[str, Any]:
    while (answer := client.get(address)).status_code == 202:
        on_progress(answer.headers.get("x-progress", ""))
        sleep(min(float(answer.headers.get("retry-after", "1")), _WAIT_SECONDS_MAX))
    _check(answer, 200)
    manifest: dict[str, Any] = answer.json()
    return manifest


@contextmanager
def whole(out: Path) -> Iterator[Path]:
    """Give the name of a file to write aside; once it is whole it is moved to where it belongs."""
    aside = out.with_name(f".{out.name}.new")
    aside.unlink(missing_ok=True)
    try:
        yield aside
        aside.replace(out)
    finally:
        aside.unlink(missing_ok=True)


def _save(client: httpx.Client, addresses: Sequence[str], out: Path) -> None:
    try:
        with whole(out) as aside:
            file = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, _MODE)
            with os.fdopen(file, "wb") as target:
                for address in addresses:
                    _fetch(client, address, target)
    except OSError as error:
        raise StoreError(f"{out} cannot be written ({error.strerror})") from error


def _fetch(client: httpx.Client, address: str, target: IO[bytes]) -> None:
    with client.stream("GET", address) as answer:
        if answer.status_code != 200:
            answer.read()
        _check(answer, 200)
        for piece in answer.iter_bytes():
            target.write(piece)


def _check(answer: httpx.Response, status: int) -> None:
    """Raise what the server says unless the status is the one that was hoped for."""
    if answer.status_code == status:
        return
    said = f"the server answers {answer.status_code}"
    with suppress(ValueError, KeyError, TypeError):
        said += ": " + "; ".join(one["diagnostics"] for one in answer.json()["issue"])
    if answer.status_code in _MISTAKES:
        raise ConfigurationError(said)
    raise UnavailableError(said)
