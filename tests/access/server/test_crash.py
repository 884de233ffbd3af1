"""A server that is killed: whatever was answered, or took effect, is in the log."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import time
from contextlib import closing
from typing import TYPE_CHECKING, Final

import httpx
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from caretrail.access.server.store import connect
from tests.access.server.test_served import CARETRAIL
from tests.serving import Served, serving

if TYPE_CHECKING:
    from pathlib import Path

_COMMAND: Final = [str(CARETRAIL), "serve", "--port", "0", "--data", "data"]
_TOKENS: Final = 12
_JTI: Final = re.compile(r"urn:ietf:params:oauth:jti:([\w-]+)")


def _ask(served: Served, key: ECKey) -> str:
    """Return the id of a new token."""
    claims = {
        "iss": "feeder",
        "sub": "feeder",
        "aud": f"{served.address}/auth/token",
        "jti": secrets.token_urlsafe(),
        "exp": int(time.time()) + 240,
    }
    form = {
        "grant_type": "client_credentials",
        "scope": "system/AuditEvent.c",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": jwt.encode({"alg": "ES384"}, claims, key, algorithms=["ES384"]),
    }
    answer = httpx.post(f"{served.address}/auth/token", data=form, timeout=60)
    assert answer.status_code == 200, answer.text
    keys = KeySet.import_key_set(httpx.get(f"{served.address}/auth/jwks", timeout=60).json())
    return str(jwt.decode(answer.json()["access_token"], keys, algorithms=["RS256"]).claims["jti"])


def test_no_token_is_without_its_event(tmp_path: Path) -> None:
    key = ECKey.generate_key("P-384", auto_kid=True)
    (tmp_path / "keys.json").write_text(json.dumps(KeySet([key]).as_dict(private=False)))
    answered: list[str] = []
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    for _ in range(2):
        with serving(_COMMAND, folder=tmp_path, environment=environment) as served:
            if not answered:
                subprocess.run(
                    [
                        *(CARETRAIL, "access", "add-client", "feeder", "--name", "Feeder"),
                        *("--grant", "client_credentials", "--keys", "keys.json"),
                        *("--scope", "system/AuditEvent.c", "--role", "source", "--data", "data"),
                    ],
                    cwd=tmp_path,
                    check=True,
                )
            answered += [_ask(served, key) for _ in range(_TOKENS)]
            served.process.kill()
            served.process.wait()
    with closing(connect(tmp_path / "data")) as database:
        kept = {row["jti"] for row in database.execute("SELECT jti FROM access")}
    assert set(answered) <= kept
    with serving(_COMMAND, folder=tmp_path, environment=environment) as served:
        token = (tmp_path / "data" / "token").read_text().strip()
        query = f"{served.address}/fhir/AuditEvent?subtype=ITI-71&outcome=0&_count=200"
        found = httpx.get(query, headers={"authorization": f"Bearer {token}"}, timeout=60).json()
    told = {
        _JTI.findall(entity["description"])[0]
        for entry in found["entry"]
        for entity in entry["resource"]["entity"]
    }
    assert kept <= told
