"""The second factor: time-based one-time passwords (RFC 6238), each good for one sign-in."""

from __future__ import annotations

import hmac
import re
from typing import Final

import pyotp

_STEP_SECONDS: Final = 30
# A clock may be one step off, in either direction (RFC 6238, 5.2).
_STEPS: Final = (-1, 0, 1)
_SHAPE: Final = re.compile(r"[0-9]{6}")


def new_secret() -> str:
    """Return a random secret of 160 bits, in base 32."""
    return pyotp.random_base32()


def link(secret: str, *, name: str, issuer: str) -> str:
    """Return the otpauth URI that authenticator apps read."""
    return pyotp.TOTP(secret).provisioning_uri(name=name, issuer_name=issuer)


def step_of(code: str, secret: str, *, now: int, after: int) -> int | None:
    """Return the time step that a code is of, or None when it is wrong.

    A step is good once: `after` is the last that was used (RFC 6238, 5.2).
    """
    text = code.replace(" ", "")
    if not _SHAPE.fullmatch(text):
        return None
    one_time, found = pyotp.TOTP(secret), None
    for offset in _STEPS:
        step = now // _STEP_SECONDS + offset
        if hmac.compare_digest(one_time.generate_otp(step), text) and step > after:
            found = step
    return found
