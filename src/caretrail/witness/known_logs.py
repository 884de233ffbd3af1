"""The logs that a witness knows: verifier keys from its command line, and from a file that may change."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from caretrail.errors import ConfigurationError, VerificationError
from caretrail.limits import WITNESS_LOGS_BYTES_MAX
from caretrail.tlog.cosignature import verifier
from caretrail.tlog.note import ED25519, MLDSA44_COSIGNATURE, VerifierKey

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from caretrail.tlog.note import Verifier

_log: Final = logging.getLogger(__name__)

_KINDS: Final = (ED25519, MLDSA44_COSIGNATURE)


class KnownLogs:
    """The verifier keys of each origin. The file is read again when it has changed."""

    def __init__(self, keys: Sequence[str], file: Path | None) -> None:
        """Read both; raises ConfigurationError that says which key cannot be used, and why."""
        self._keys = tuple([_key(text, "--log") for text in keys])
        self._file = file
        self._stamp: tuple[int, ...] | None = None
        self._verifiers: dict[str, list[Verifier]] = {}
        self.is_current = True
        self._load()

    def __len__(self) -> int:
        """Return how many logs are known."""
        return len(self._verifiers)

    def verifiers(self, origin: str) -> list[Verifier] | None:
        """Return what verifies the log of this origin; None when it is not known."""
        self.refresh()
        return self._verifiers.get(origin)

    def refresh(self) -> None:
        """Read the file if it has changed; one that cannot be read leaves everything as it was."""
        try:
            changed = self._load()
        except ConfigurationError as error:
            if self.is_current:
                _log.error("the list of logs is not taken", extra={"reason": str(error)})
            self.is_current = False
            return
        if changed:
            _log.info("the list of logs was read", extra={"logs": len(self)})

    def _load(self) -> bool:
        if self._file is None:
            if self._stamp is None:
                self._stamp, self._verifiers = (), _by_origin(self._keys)
            return False
        try:
            found = self._file.stat()
            stamp = (found.st_ino, found.st_size, found.st_mtime_ns)
            if stamp == self._stamp:
                return False
            with self._file.open("rb") as opened:
                data = opened.read(WITNESS_LOGS_BYTES_MAX + 1)
        except OSError as error:
            # Its next appearance is a change, whatever its time says.
            self._stamp = None
            raise ConfigurationError(
                f"the list of logs {self._file} cannot be read ({error.strerror})"
            ) from error
        # Remembered also where it is wrong: so that it is read once, and complained of once.
        self._stamp = stamp
        self._verifiers = _by_origin([*self._keys, *_parse(data)])
        self.is_current = True
        return True


def _by_origin(keys: Iterable[VerifierKey]) -> dict[str, list[Verifier]]:
    found: dict[str, list[Verifier]] = {}
    for key in dict.fromkeys(keys):
        found.setdefault(key.name, []).append(verifier(key))
    return found


def _parse(data: bytes) -> list[VerifierKey]:
    """Return the keys, one a line; empty lines and those that begin with `#` are for people."""
    if len(data) > WITNESS_LOGS_BYTES_MAX:
        raise ConfigurationError("the list of logs is too long")
    try:
        lines = data.decode().split("\n")
    except UnicodeDecodeError as error:
        raise ConfigurationError("the list of logs is not UTF-8") from error
    return [
        _key(text, f"line {number} of the list of logs")
        for number, line in enumerate(lines, 1)
        if (text := line.strip()) and not text.startswith("#")
    ]


def _key(text: str, where: str) -> VerifierKey:
    try:
        key = VerifierKey.parse(text)
        verifier(key)
    except VerificationError as error:
        raise ConfigurationError(f"{where}: {error}") from error
    if key.kind not in _KINDS:
        raise ConfigurationError(f"{where}: this is no key that a log signs with")
    return key
