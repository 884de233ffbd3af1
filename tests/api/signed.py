"""A whole repository with its publisher: keys, a checkpoint store, perhaps a policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from caretrail import opening
from caretrail.config import Settings
from tests.api.arr import Arr

if TYPE_CHECKING:
    from pathlib import Path


class SignedArr(Arr):
    """Opened as the server opens it; the publisher works while a request does."""

    def __init__(self, folder: Path, **options: Any) -> None:
        settings = {name: options.pop(name) for name in ("witness_policy",) if name in options}
        self._opening = opening.opened(Settings(data=folder / "log", **settings))
        super().__init__(folder, **options)

    def open(self, folder: Path) -> Any:
        log = self.runner.run(self._opening.__aenter__())
        self.publisher = log.publisher
        return log.repository

    def close(self) -> None:
        self.runner.run(self.client.aclose())
        self.runner.run(self._opening.__aexit__(None, None, None))
        self.runner.close()
