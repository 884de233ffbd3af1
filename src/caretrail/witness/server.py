"""`caretrail witness`: settings become a running witness."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Final

import uvloop

from caretrail import listening, logs
from caretrail.errors import ConfigurationError, VerificationError
from caretrail.key_file import load_or_create
from caretrail.limits import WITNESS_CONNECTIONS_MAX
from caretrail.tlog.cosignature import Cosigner
from caretrail.tlog.keys import Ed25519PrivateKey, MLDSA44PrivateKey
from caretrail.tlog.note import VerifierKey, check_key_name
from caretrail.witness.application import Application
from caretrail.witness.cosigning import Witness
from caretrail.witness.known_logs import KnownLogs
from caretrail.witness.state_store import StateStore

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from caretrail.settings import WitnessSettings

_log: Final = logging.getLogger(__name__)

KEY_FILE: Final = "witness.key"
ML_DSA_KEY_FILE: Final = "witness-ml-dsa.key"
STATE_FILE: Final = "witness.sqlite"


@contextmanager
def opened(
    settings: WitnessSettings,
    keys: Sequence[str] = (),
    *,
    clock: Callable[[], float],
    passphrase: bytes | None = None,
) -> Iterator[Witness]:
    """Open the witness of a data folder, which is made at the first start.

    `keys` are verifier keys of logs, beside those of a file; the passphrase is of its own keys.
    """
    known = KnownLogs(keys, settings.logs)
    _check_name(settings.name)
    with closing(StateStore(settings.data / STATE_FILE)) as store:
        vkey = store.vkey()
        name = VerifierKey.parse(vkey).name if vkey else settings.name
        if not name:
            raise ConfigurationError(
                "a new witness needs a name, which it keeps: --name dpo.hospital.example/witness"
            )
        if settings.name not in ("", name):
            raise ConfigurationError(
                f"this witness is called {name}: leave out --name, or make a new witness by --data"
            )
        _check_files(settings.data, has_state=vkey is not None)
        seed = load_or_create(settings.data / KEY_FILE, passphrase=passphrase)
        cosigner = Cosigner(name, Ed25519PrivateKey(seed))
        if vkey is None:
            store.set_vkey(cosigner.key.format())
        elif vkey != cosigner.key.format():
            raise ConfigurationError(
                f"the key {settings.data / KEY_FILE} is not the one of this witness: put that back"
            )
        if not known:
            _log.warning("no log is known: name one by --log or --logs")
        second = None
        if settings.sign_ml_dsa:
            seed = load_or_create(settings.data / ML_DSA_KEY_FILE, passphrase=passphrase)
            second = Cosigner(name, MLDSA44PrivateKey(seed))
        yield Witness(cosigner, known, store, clock, second=second)


def _check_name(name: str) -> None:
    try:
        check_key_name(name or "unnamed")
    except VerificationError as error:
        raise ConfigurationError("--name has neither spaces nor plus signs") from error


def _check_files(folder: Path, *, has_state: bool) -> None:
    """Refuse half a witness: a new key is another witness, and one without memory believes anything."""
    has_key = (folder / KEY_FILE).exists()
    if has_state and not has_key:
        raise ConfigurationError(
            f"the key {folder / KEY_FILE} of this witness is gone: put back your copy, or make a new"
            " witness by --data"
        )
    if has_key and not has_state:
        raise ConfigurationError(
            f"the state {folder / STATE_FILE} of this witness is gone: without it, it would cosign a"
            " log that was rolled back; make a new witness by --data"
        )


async def _serve(
    settings: WitnessSettings, listener: socket.socket, witness: Witness, say: Callable[[str], None]
) -> None:
    application = Application(witness)
    address = listening.address_of(listener)

    def announce() -> None:
        name, vkey = witness.key.name, witness.key.format()
        say(address)
        say(vkey)
        say(f"witness {name} {vkey} {settings.public_url or address}")
        if witness.second is not None:
            second = f"{name}/ml-dsa {witness.second.format()}"
            say(f"witness {second} {settings.public_url or address}")
        _log.info("listening", extra={"address": address, "witness": name})

    try:
        server = listening.server(application, connections_max=WITNESS_CONNECTIONS_MAX)
        # Said once the server runs, so that whoever then sends a signal sees it stop properly.
        asyncio.get_running_loop().call_soon(announce)
        await server.serve(sockets=[listener])
    finally:
        application.close()
    _log.info("stopped")


def run(
    settings: WitnessSettings,
    keys: Sequence[str] = (),
    *,
    passphrase: bytes | None = None,
    say: Callable[[str], None],
) -> None:
    """Run a witness until a signal to stop.

    It says its address, its verifier key, and the lines that a log's policy has to have.
    """
    logs.start(settings.log_level)
    with opened(settings, keys, clock=time.time, passphrase=passphrase) as witness:
        listener = listening.listen(settings.host, settings.port)
        with closing(listener):
            uvloop.run(_serve(settings, listener, witness, say))
