"""Time-stamp responses as RFC 3161 has them, with a signature of nobody."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

SHA256: Final = bytes.fromhex("0609608648016503040201")


def tlv(tag: int, *parts: bytes) -> bytes:
    """Return a value in DER (ITU-T X.690)."""
    body = b"".join(parts)
    if len(body) < 128:
        return bytes([tag, len(body)]) + body
    length = len(body).to_bytes(2)
    return bytes([tag, 0x82]) + length + body


def stamp(data: bytes, *, time: str = "20261124060500Z", status: int = 0) -> bytes:
    """Return a response that stamps the SHA-256 of the data."""
    imprint = tlv(0x30, tlv(0x30, SHA256, tlv(5)), tlv(4, sha256(data).digest()))
    number = tlv(2, b"\1")
    info = tlv(0x30, number, tlv(6, b"\x2a\x03"), imprint, number, tlv(0x18, time.encode()))
    inner = tlv(6, bytes.fromhex("2a864886f70d0109100104")), tlv(0xA0, tlv(4, info))
    signed = tlv(0x30, tlv(2, b"\3"), tlv(0x31), tlv(0x30, *inner), tlv(0x31))
    content = tlv(0x30, tlv(6, bytes.fromhex("2a864886f70d010702")), tlv(0xA0, signed))
    return tlv(0x30, tlv(0x30, tlv(2, bytes([status]))), content)
