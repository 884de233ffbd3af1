"""The ways to people: mail (SMTP), and a webhook. Each takes one message, or says that it did not."""

from __future__ import annotations

import asyncio
import smtplib
from email.message import EmailMessage
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

from caretrail import clock, outgoing
from caretrail.errors import UnavailableError
from caretrail.feeding.receivers.webhook import signed
from caretrail.limits import OUTGOING_SECONDS_MAX
from caretrail.outgoing import OPERATORS

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence

    from caretrail.feeding.receivers.over_http import Http


class Message(NamedTuple):
    """What people are told: nothing of an event, a patient, a user or a source.

    `state` is `begun` or `ended`, `at` an instant of FHIR, `link` where to look.
    """

    reference: str
    kind: str
    title: str
    severity: str
    state: str
    at: str
    link: str


class Channel(Protocol):
    """A way to people."""

    async def tell(self, message: Message) -> None:
        """Hand the message over; raise UnavailableError or RefusedError when it was not taken."""

    async def close(self) -> None:
        """Let go of connections."""


class Mail:
    """A mail server, and those whom a mail goes to."""

    def __init__(
        self,
        host: str,
        port: int,
        security: str,
        tls: ssl.SSLContext,
        *,
        sender: str,
        to: Sequence[str],
        user: str,
        password: Callable[[], str],
    ) -> None:
        self._host, self._port, self._security, self._tls = host, port, security, tls
        self._sender, self._to = sender, tuple(to)
        self._user, self._password = user, password

    async def tell(self, message: Message) -> None:
        """Send the mail."""
        await outgoing.lookup(self._host, self._port, OPERATORS)
        try:
            await asyncio.to_thread(self._send, message)
        except (OSError, smtplib.SMTPException) as error:
            said = f"the mail server did not take it ({type(error).__name__})"
            raise UnavailableError(said) from error

    def _send(self, message: Message) -> None:
        with self._connected() as server:
            if self._security == "starttls":
                server.starttls(context=self._tls)
            if self._user:
                server.login(self._user, self._password())
            server.send_message(self._mail(message))

    def _connected(self) -> smtplib.SMTP:
        place, seconds = (self._host, self._port), OUTGOING_SECONDS_MAX
        if self._security == "tls":
            return smtplib.SMTP_SSL(*place, timeout=seconds, context=self._tls)
        return smtplib.SMTP(*place, timeout=seconds)

    def _mail(self, message: Message) -> EmailMessage:
        mail = EmailMessage()
        mail["From"], mail["To"] = self._sender, ", ".join(self._to)
        mail["Subject"] = f"CareTrail alert {message.reference}: {message.kind} {message.state}"
        mail["Message-ID"] = f"<{message.reference}.{message.state}@caretrail>"
        mail["Auto-Submitted"] = "auto-generated"
        rows = {
            "Reference": message.reference,
            "What": message.title,
            "State": message.state,
            "Severity": message.severity,
            "Since" if message.state == "begun" else "Until": message.at,
            "Where": message.link,
        }
        mail.set_content("".join(f"{name}: {text}\n" for name, text in rows.items() if text))
        return mail

    async def close(self) -> None:
        """Hold nothing: a connection ends with its mail."""


class SignedHook:
    """A webhook; `key` returns what signs messages (Standard Webhooks)."""

    def __init__(self, http: Http, key: Callable[[], bytes]) -> None:
        self._http, self._key = http, key

    async def tell(self, message: Message) -> None:
        """Post the message, signed."""
        data = {"type": "alert", "timestamp": message.at, "data": message._asdict()}
        body = msgspec.json.encode(data)
        now = clock.milliseconds() // 1000
        name = f"{message.reference}.{message.state}"
        headers = signed(self._key(), message_id=name, seconds=now, body=body)
        await self._http.post(body, headers)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()
