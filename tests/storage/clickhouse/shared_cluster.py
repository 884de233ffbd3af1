"""One cluster for all tests of a run, also where several workers run them.

The first worker that needs it starts it in a process of its own, and every worker holds it by a lock;
when the last one has gone, however it went, that process stops the cluster.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.storage.clickhouse.cluster import Cluster

_READY_SECONDS: Final = 300.0
_STEP_SECONDS: Final = 0.2


def _folder() -> Path:
    """Return the folder that the workers of this run share."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or f"alone-{os.getpid()}"
    return Path(tempfile.gettempdir()) / f"caretrail-cluster-{re.sub(r'[^A-Za-z0-9-]', '', run)}"


class SharedCluster:
    """Where the cluster is; `url` names a log in it."""

    def __init__(self) -> None:
        """Start the cluster, or join those who use it."""
        folder = _folder()
        folder.mkdir(exist_ok=True)
        # Held until this process ends: the keeper waits for that.
        self._held = (folder / "users").open("a")
        fcntl.flock(self._held, fcntl.LOCK_SH)
        with (folder / "start").open("a") as starting:
            fcntl.flock(starting, fcntl.LOCK_EX)
            ready = folder / "ready"
            if not ready.exists():
                with (folder / "keeper.log").open("ab") as log:
                    self._keeper = subprocess.Popen(
                        [sys.executable, "-m", __name__, str(folder)],
                        stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                    )  # fmt: skip
                end = time.monotonic() + _READY_SECONDS
                while not ready.exists():
                    assert time.monotonic() < end, (folder / "keeper.log").read_text()
                    time.sleep(_STEP_SECONDS)
            self._template = ready.read_text()

    def url(self, database: str, *, log: str = "main") -> str:
        """Return the URL of a log in a database of its own."""
        return self._template.replace("/database?log=main", f"/{database}?log={log}")


def main() -> None:
    """Keep a cluster for as long as somebody uses it."""
    folder = Path(sys.argv[1])
    # Whoever ends this process ends the servers, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="caretrail-clickhouse-") as place:
        cluster = Cluster(Path(place))
        try:
            cluster.start()
            aside = folder / "ready.new"
            aside.write_text(cluster.url("database"))
            aside.rename(folder / "ready")
            with (folder / "users").open("a") as users:
                fcntl.flock(users, fcntl.LOCK_EX)
        finally:
            cluster.stop()
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
