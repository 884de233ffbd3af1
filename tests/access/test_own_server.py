"""Tokens of the authorization server in the same process decide what their bearers may do."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import time
from typing import TYPE_CHECKING, Any

import httpx
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from tests.access.server.test_served import CARETRAIL
from tests.api.arr import event
from tests.serving import serving

if TYPE_CHECKING:
    from pathlib import Path

_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def test_a_source_gets_a_token_records_with_it_and_gives_it_back(tmp_path: Path) -> None:
    key = ECKey.generate_key("P-384", auto_kid=True)
    (tmp_path / "keys.json").write_text(json.dumps(KeySet([key]).as_dict(private=False)))
    command = [str(CARETRAIL), "serve", "--port", "0", "--data", "data"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with serving(command, folder=tmp_path, environment=environment) as served:
        subprocess.run(
            [
                *(str(CARETRAIL), "access", "add-client", "feeder", "--name", "Feeder"),
                *("--grant", "client_credentials", "--keys", "keys.json"),
                *("--scope", "system/AuditEvent.c", "--role", "source", "--data", "data"),
            ],
            cwd=tmp_path,
            check=True,
        )

        def signed_in(endpoint: str, **form: str) -> httpx.Response:
            address = f"{served.address}/auth/{endpoint}"
            claims = {"iss": "feeder", "sub": "feeder", "aud": f"{served.address}/auth/token"}
            claims |= {"jti": secrets.token_urlsafe(), "exp": int(time.time()) + 240}  # type: ignore[dict-item]
            shown = jwt.encode({"alg": "ES384"}, claims, key, algorithms=["ES384"])
            proof = {"client_assertion_type": _BEARER, "client_assertion": shown}
            return httpx.post(address, data=form | proof, timeout=60)

        answer = signed_in("token", grant_type="client_credentials", scope="system/AuditEvent.c")
        token = answer.json()["access_token"]

        def ask(method: str, **rest: Any) -> int:
            headers = {"authorization": f"Bearer {token}", "content-type": "application/fhir+json"}
            address = f"{served.address}/fhir/AuditEvent"
            return httpx.request(method, address, headers=headers, timeout=60, **rest).status_code

        assert ask("POST", json=event()) == 201
        assert ask("GET") == 403
        assert signed_in("revoke", token=token).status_code == 200
        assert ask("POST", json=event()) == 401
