"""A time-stamping authority of another implementation, on this machine."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

needs_openssl = pytest.mark.skipif(not shutil.which("openssl"), reason="needs the openssl command")
CONFIGURATION = """
[ tsa ]
default_tsa = here
[ here ]
serial = {0}/serial
signer_digest = sha256
default_policy = 1.2.3.4
digests = sha256, sha384, sha512
ess_cert_id_alg = sha256
[ authority ]
basicConstraints = critical, CA:FALSE
extendedKeyUsage = critical, timeStamping
[ root ]
basicConstraints = critical, CA:TRUE
"""


EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
RSA = ("-newkey", "rsa:2048", "-nodes")


class Authority:
    """A time-stamping authority made by the openssl command, with a root of its own."""

    def __init__(self, folder: Path, *, key: Sequence[str] = EC) -> None:
        folder.mkdir()
        self._folder = folder
        (folder / "serial").write_text("01\n")
        (folder / "tsa.cnf").write_text(CONFIGURATION.format(folder))
        (folder / "req.cnf").write_text("[ req ]\ndistinguished_name = dn\n[ dn ]\n")
        self._run("req", *EC, "-days", "2", "-x509", "-subj", "/CN=root", "-keyout", "root.key", "-out", "root.pem",
                  "-config", "req.cnf", "-addext", "keyUsage = keyCertSign")  # fmt: skip
        self._run("req", *key, "-subj", "/CN=authority", "-keyout", "own.key", "-out", "own.csr",
                  "-config", "req.cnf")  # fmt: skip
        self._run("x509", "-req", "-in", "own.csr", "-CA", "root.pem", "-CAkey", "root.key",
                  "-set_serial", "2", "-days", "2", "-extfile", "tsa.cnf", "-extensions", "authority",
                  "-out", "own.pem")  # fmt: skip
        self.root = (folder / "root.pem").read_bytes()
        self.own = (folder / "own.pem").read_bytes()

    def reply(self, query: bytes) -> bytes:
        """Return the response to a request, both in DER."""
        (self._folder / "query.tsq").write_bytes(query)
        self._run("ts", "-reply", "-config", "tsa.cnf", "-queryfile", "query.tsq", "-signer", "own.pem",
                  "-inkey", "own.key", "-out", "reply.tsr")  # fmt: skip
        return (self._folder / "reply.tsr").read_bytes()

    def _run(self, *arguments: str) -> None:
        done = subprocess.run(
            ["openssl", *arguments], cwd=self._folder, capture_output=True, text=True, check=False
        )
        assert not done.returncode, done.stderr
