"""A server, and an issuer on another port: tokens, keys that rotate, an issuer that is down."""

from __future__ import annotations

import json
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from joserfc.jwk import ECKey

from caretrail import app
from caretrail.access.projection import Disclosure
from caretrail.errors import ConfigurationError
from caretrail.settings import Settings
from tests.access.guarded import CLAIMS, claims, signed
from tests.api.arr import event, ids
from tests.serving import serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Issuer:
    """An issuer's metadata and keys over real HTTP."""

    def __init__(self) -> None:
        self.key: Any = ECKey.generate_key("P-256", {"kid": "first", "use": "sig"})
        self.asked = 0
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked += self.path == "/keys"
                found: Any = {"keys": [issuer.key.as_dict(private=False)]}
                if self.path != "/keys":
                    found = {"issuer": issuer.url, "jwks_uri": f"{issuer.url}/keys"}
                body = json.dumps(found).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def token(self, role: str, audience: str, **others: Any) -> str:
        content = claims(iss=self.url, aud=audience, **(CLAIMS[role] | others))
        return signed(content, key=self.key, alg="ES256", kid=self.key.kid)


@contextmanager
def issuing() -> Iterator[Issuer]:
    made = Issuer()
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    try:
        yield made
    finally:
        made.server.shutdown()
        thread.join()
        made.server.server_close()


_SERVE = """
import sys
from pathlib import Path
from caretrail import app
from caretrail.settings import Settings
folder = Path(sys.argv[1])
async def ready(server, address):
    print(address, flush=True)
app.run(Settings(
    data=folder / "data", port=0, identities=folder / "identities.toml",
    token_roles="source", staff_disclosure="organisation",
), on_ready=ready)
"""


def test_tokens_of_an_issuer_decide_who_reads_what(tmp_path: Path) -> None:
    with issuing() as issuer:
        (tmp_path / "identities.toml").write_text(f'[[issuer]]\nurl = "{issuer.url}"\n')
        command = [sys.executable, "-c", _SERVE, str(tmp_path)]
        with serving(command, folder=tmp_path) as running:
            base = f"{running.address}/fhir"
            folders = (tmp_path / "data" / "token").read_text().strip()
            with httpx.Client(base_url=base, trust_env=False) as client:
                _flow(client, base, issuer, folders)
    text = (tmp_path / "serve.err").read_text()
    assert "ey" + "J" not in text  # No token, as JWTs begin.


def _flow(client: httpx.Client, base: str, issuer: Issuer, folders: str) -> None:
    def ask(method: str, path: str, token: str, **rest: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/fhir+json"}
        return client.request(method, base + path, headers=headers, **rest)

    source = issuer.token("source", base)
    assert ask("POST", "/AuditEvent", source, json=event()).status_code == 201
    assert ask("GET", "/AuditEvent", source).status_code == 403
    # The folder's token goes on feeding, and reads nothing beside other identities.
    assert ask("POST", "/AuditEvent", folders, json=event()).status_code == 201
    assert ask("GET", "/AuditEvent", folders).status_code == 403
    auditor = issuer.token("auditor", base)
    assert len(ids(ask("GET", "/AuditEvent?type=110110", auditor))) == 2
    assert len(ids(ask("GET", "/AuditEvent?type=110101&outcome=8", auditor))) == 2
    told = ask("GET", "/AuditEvent", issuer.token("patient", base))
    assert len(ids(told)) == 2
    assert "Dr. One" not in told.text
    assert ask("GET", "/AuditEvent", issuer.token("auditor", base + "x")).status_code == 401
    assert issuer.asked == 1
    # Another key takes over: it is fetched some seconds after the last look at the earliest.
    issuer.key = ECKey.generate_key("P-256", {"kid": "second", "use": "sig"})
    rotated = issuer.token("auditor", base, jti="another")
    deadline = time.monotonic() + 120
    while ask("GET", "/AuditEvent", rotated).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert ask("GET", "/AuditEvent", auditor).status_code == 200  # It was seen, and has not ended.
    assert issuer.asked <= 3


@pytest.mark.parametrize(
    "settings",
    [
        {"staff_disclosure": "all"},
        {"source_rate": -1},
        {"client_ca": "x"},
        {"insecure_no_auth": True, "identities": "x"},
        {"insecure_no_auth": True, "token_roles": "all"},
    ],
)
def test_settings_that_cannot_be_are_refused(settings: Any) -> None:
    with pytest.raises(ConfigurationError):
        Settings(**settings)


def test_the_gate_follows_the_settings(tmp_path: Path) -> None:
    path = tmp_path / "identities.toml"
    path.write_text("[[certificate]]\nproducer = 'a'\nsubject = 'a'\n")
    headers = {b"authorization": b"Bearer secret"}

    def holder(**settings: Any) -> Any:
        return app._gate(Settings(**settings), "secret", "http://here").known(headers)

    assert holder().view("read").is_whole
    assert holder(identities=path) is None
    assert holder(identities=path, token_roles="all").view("read").is_whole
    assert holder(identities=path, token_roles="source").view("read") is None
    assert holder(token_roles="auditor").view("create") is None
    with pytest.raises(ConfigurationError, match="token-roles"):
        holder(token_roles="king")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        holder(identities=tmp_path / "missing")
    assert Settings().staff_disclosure == Disclosure.ROLE
