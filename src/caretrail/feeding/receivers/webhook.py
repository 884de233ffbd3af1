"""A webhook, signed as Standard Webhooks 1.0.0 says: HMAC-SHA256 over id, time and body."""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from caretrail import clock
from caretrail.errors import ConfigurationError
from caretrail.fhir.temporal import format_instant

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from caretrail.feeding.contract import Item, Refused
    from caretrail.feeding.receivers.over_http import Http

_PREFIX: Final = "whsec_"
_KEY_BYTES_MIN: Final = 24  # As the standard asks for.
_TYPE: Final = "audit-events"


def key_of(secret: str) -> bytes:
    """Return the key in a secret, `whsec_` and base64; raise ConfigurationError."""
    try:
        key = b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (Base64Error, ValueError):
        key = b""
    if not secret.startswith(_PREFIX) or len(key) < _KEY_BYTES_MIN:
        raise ConfigurationError(
            f"a webhook's secret is {_PREFIX} and {_KEY_BYTES_MIN} bytes or more in base64"
        )
    return key


def signed(key: bytes, *, message_id: str, seconds: int, body: bytes) -> dict[str, str]:
    """Return the headers of a message; `seconds` since 1970 is when it is sent."""
    text = f"{message_id}.{seconds}.".encode() + body
    signature = b64encode(hmac.digest(key, text, sha256)).decode()
    return {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(seconds),
        "webhook-signature": f"v1,{signature}",
    }


class Webhook:
    """An address that takes messages; `secret` returns what signs them, `feed` is the feed's name."""

    def __init__(self, http: Http, secret: Callable[[], str], feed: str) -> None:
        self._http, self._secret, self._feed = http, secret, feed

    async def send(self, items: Sequence[Item]) -> Sequence[Refused]:
        """Send one message; its id follows from what is in it."""
        events = b",".join(item.body for item in items)
        moment = format_instant(items[-1].received)
        body = f'{{"type":"{_TYPE}","timestamp":"{moment}","data":{{"events":['.encode()
        body += events + b"]}}"
        message_id = f"{self._feed}-{items[0].entry}-{items[-1].entry}"
        now = clock.milliseconds() // 1000
        headers = signed(key_of(self._secret()), message_id=message_id, seconds=now, body=body)
        await self._http.post(body, headers)
        return ()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()
