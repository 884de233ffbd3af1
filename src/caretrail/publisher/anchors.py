"""Anchors: what fixes a checkpoint in time and place, beyond the reach of whoever has the log's key.

A time stamp (RFC 3161) shows that a checkpoint existed at a time, also after its key was stolen. A
folder of write-once files, on a medium that keeps them so, shows all checkpoints that there were.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Self

import httpx
from cryptography import x509
from rfc3161_client import (
    HashAlgorithm,
    TimestampRequestBuilder,
    VerifierBuilder,
    decode_timestamp_response,
)
from rfc3161_client import VerificationError as TimeStampError

from caretrail import durable_file
from caretrail.errors import (
    ConfigurationError,
    ConflictError,
    StoreError,
    UnavailableError,
    VerificationError,
)
from caretrail.limits import NOTE_BYTES_MAX, TIME_STAMP_BYTES_MAX, TIME_STAMP_SECONDS_MAX
from caretrail.publisher.answer import client, post
from caretrail.tlog.checkpoint import Checkpoint
from caretrail.tlog.note import Note

if TYPE_CHECKING:
    import ssl
    from datetime import datetime
    from pathlib import Path

_QUERY: Final = "application/timestamp-query"
_REPLY: Final = "application/timestamp-reply"
_GRANTED: Final = 0  # PKIStatus; with modifications (1) it would not be what was asked for.
_MODE: Final = 0o444


class TimeStamp(NamedTuple):
    """A time stamp as its authority sent it (`TimeStampResp`), and the time that it states."""

    response: bytes
    time: datetime


class Pinned(NamedTuple):
    """The certificates by which an authority is known: its own, where it is pinned, and its issuers'."""

    authority: x509.Certificate | None
    issuers: tuple[x509.Certificate, ...]
    roots: tuple[x509.Certificate, ...]

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Parse certificates in PEM; raises ConfigurationError when they cannot serve.

        A root, which has signed itself, has to be there. With the authority's own certificate,
        the one that is nobody's issuer, only that one is believed, else any that the root vouches
        for.
        """
        try:
            found = x509.load_pem_x509_certificates(data)
        except ValueError as error:
            raise ConfigurationError(
                "the certificates of the time-stamping authority cannot be read as PEM"
            ) from error
        roots = tuple([one for one in found if one.subject == one.issuer])
        others = [one for one in found if one.subject != one.issuer]
        issuing = {one.issuer for one in found}
        own = [one for one in others if one.subject not in issuing and not _is_authority(one)]
        if not roots or len(own) > 1:
            raise ConfigurationError(
                "the certificates of the time-stamping authority need a root, and at most one"
                " certificate of its own"
            )
        issuers = tuple([one for one in others if one not in own])
        return cls(own[0] if own else None, issuers, roots)

    def verify(self, response: bytes, data: bytes, *, nonce: int | None = None) -> TimeStamp:
        """Return the time stamp if it is this authority's, over `data`, and not an older answer."""
        if len(response) > TIME_STAMP_BYTES_MAX:
            raise VerificationError("the time stamp is too long")
        check = VerifierBuilder(
            tsa_certificate=self.authority,
            intermediates=list(self.issuers),
            roots=list(self.roots),
            nonce=nonce,
        ).build()
        try:
            decoded = decode_timestamp_response(response)
            if decoded.status != _GRANTED:
                raise UnavailableError("the time-stamping authority grants no time stamp")
            check.verify_message(decoded, data)
            return TimeStamp(response, decoded.tst_info.gen_time)
        except (TimeStampError, ValueError) as error:
            raise VerificationError("the time stamp does not hold") from error


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except x509.ExtensionNotFound:
        return False
    return basic.value.ca


class TimeStampAuthority:
    """A time-stamping authority over HTTP (RFC 3161, 3.4), with pinned certificates."""

    def __init__(
        self,
        url: str,
        pinned: Pinned,
        *,
        tls: ssl.SSLContext | None = None,
        timeout_seconds: float = TIME_STAMP_SECONDS_MAX,
    ) -> None:
        self._url, self._pinned = url, pinned
        self._http = client(seconds=timeout_seconds, tls=tls)

    async def stamp(self, data: bytes) -> TimeStamp:
        """Return a verified time stamp of `data`; only its hash leaves the house.

        Raises UnavailableError when there is none for now, and VerificationError when what came
        is none.
        """
        builder = TimestampRequestBuilder().data(data).hash_algorithm(HashAlgorithm.SHA256)
        request = builder.build()
        try:
            answer = await post(
                self._http,
                self._url,
                request.as_bytes(),
                media_type=_QUERY,
                bytes_max=TIME_STAMP_BYTES_MAX,
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UnavailableError("the time-stamping authority cannot be reached") from error
        if answer.status != 200 or answer.media_type != _REPLY:
            raise UnavailableError(f"the time-stamping authority answers {answer.status}")
        return self._pinned.verify(answer.body, data, nonce=request.nonce)

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()


class Kept(NamedTuple):
    """A checkpoint of a write-once folder as it was read: its size by its file's name, its stamp."""

    size: str
    note: bytes
    stamp: bytes | None


def kept(folder: Path) -> list[Kept]:
    """Return what a write-once folder has, which nobody has checked yet; raises StoreError."""
    found = []
    for path in sorted(folder.glob("*.checkpoint"), key=lambda one: (len(one.name), one.name)):
        stamp = path.with_suffix(".tsr")
        found.append(Kept(path.stem, _read(path), _read(stamp) if stamp.exists() else None))
    return found


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as opened:
            return opened.read(NOTE_BYTES_MAX + 1)
    except OSError as error:
        raise StoreError("the write-once folder cannot be read") from error


class WriteOnceFolder:
    """A folder of files `<size>.checkpoint` and `<size>.tsr` that are never written again.

    That nobody else can write or remove them is for the medium to see to: write-once storage, an
    object store with a lock, another machine that fetches them. The calls write the disk: call them
    in a thread.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"the folder {folder} cannot be made") from error

    def keep(self, note: Note, stamp: TimeStamp | None = None) -> bool:
        """Keep a checkpoint, and its time stamp; on return they survive a power cut.

        Returns False when this size was kept before: the first one stays. Raises ConflictError when
        the kept one has another root, which is evidence of two histories, and StoreError when a
        file cannot be written.
        """
        checkpoint = Checkpoint.parse(note.text)
        path = self._folder / f"{checkpoint.size}.checkpoint"
        is_new = self._create(path, note.format())
        if not is_new and self._checkpoint(path) != checkpoint:
            raise ConflictError("another checkpoint of this size was kept before")
        # A stamp says what it was made of: one of other bytes would prove nothing.
        if stamp is not None and _read(path) == note.format():
            self._create(path.with_suffix(".tsr"), stamp.response)
        return is_new

    def stamp_of(self, note: Note) -> bytes | None:
        """Return the time stamp of this very note, if one is kept."""
        size = Checkpoint.parse(note.text).size
        path = self._folder / f"{size}.checkpoint"
        stamp = path.with_suffix(".tsr")
        if not stamp.exists() or _read(path) != note.format():
            return None
        return _read(stamp)

    def _checkpoint(self, path: Path) -> Checkpoint:
        return Checkpoint.parse(Note.parse(_read(path)).text)

    def _create(self, path: Path, data: bytes) -> bool:
        try:
            durable_file.create(path, data, mode=_MODE)
        except FileExistsError:
            return False
        except OSError as error:
            raise StoreError(
                f"the write-once folder cannot be written ({error.strerror})"
            ) from error
        return True
