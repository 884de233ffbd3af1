"""Who may write to a log: an ephemeral node in ZooKeeper, which goes with the session of its maker."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException, NodeExistsError, NoNodeError
from kazoo.handlers.threading import KazooTimeoutError

from caretrail.errors import ConfigurationError, InUseError, StoreError

if TYPE_CHECKING:
    from caretrail.storage.clickhouse.address import Address

_SESSION_SECONDS: Final = 6.0
# A process that was killed keeps its session for so long.
_TAKE_SECONDS: Final = 20.0
_STEP_SECONDS: Final = 0.1
# Its lines would name hosts and sessions at every turn; what matters is an error of ours.
logging.getLogger("kazoo").setLevel(logging.CRITICAL)


class Lease:
    """The node of the one sequencer of a log."""

    def __init__(self, address: Address) -> None:
        """Take the node; raises InUseError while another has it, and waits for one that died."""
        self._path = f"/caretrail/{address.cluster}/{address.database}/sequencer/{address.log}"
        self._client = KazooClient(address.zookeeper, timeout=_SESSION_SECONDS)
        try:
            self._client.start(timeout=_TAKE_SECONDS)
            self._take()
        except KazooTimeoutError as error:
            self.release()
            raise ConfigurationError("the ZooKeeper of --store does not answer") from error
        except BaseException:
            self.release()
            raise

    def _take(self) -> None:
        end = time.monotonic() + _TAKE_SECONDS
        while True:
            try:
                self._client.create(self._path, b"", ephemeral=True, makepath=True)
                self._session = self._client.client_id
            except NodeExistsError:
                if time.monotonic() > end:
                    raise InUseError(
                        "another caretrail process writes to this log: stop it, or name another"
                        " `log=` in --store"
                    ) from None
                time.sleep(_STEP_SECONDS)
            else:
                return

    def prove(self) -> None:
        """Write to the node, which only works while it is ours; raises StoreError.

        Whoever takes the log over does so after the node is gone, and reads the log after that:
        what was in it before this returned, the other one sees.
        """
        try:
            if self._client.client_id != self._session:
                raise StoreError(_LOST)
            self._client.retry(self._client.set, self._path, b"")
        except (KazooException, KazooTimeoutError) as error:
            raise StoreError(_LOST) from error

    def renew(self) -> None:
        """Take the node again when the session was lost; raises StoreError when it cannot be had."""
        try:
            self.prove()
        except StoreError:
            try:
                self._take()
            except (KazooException, KazooTimeoutError, InUseError) as error:
                raise StoreError(_LOST) from error

    def release(self) -> None:
        """Give the node away."""
        try:
            self._client.stop()
            self._client.close()
        except (KazooException, KazooTimeoutError, NoNodeError, OSError):
            pass  # The session ends by itself.


_LOST: Final = "the store lost its lease on the log: send the event again"
