"""What a log is: its id, its keys, its name, and what its bodies are read with."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Final

from caretrail.sequencer import Identity
from caretrail.storage import bodies
from caretrail.storage.bodies import Bodies
from caretrail.storage.data_keys import DataKeys

if TYPE_CHECKING:
    from collections.abc import Mapping

    from caretrail.storage.clickhouse.servers import Servers

_ASK: Final = (
    "SELECT name, version, value FROM {d}.property WHERE log = {log} ORDER BY name, version"
)
_DICTIONARY: Final = "dictionary/"
DATA_KEYS: Final = "data-keys"


class Properties(dict[str, bytes]):
    """The latest value of each property; `version` is the highest of all."""

    version: int = 0

    @classmethod
    def read(cls, servers: Servers) -> Properties:
        """Return the properties of a log, none where there is no log yet."""
        found = cls()
        kinds = ("String", "UInt64", "String")
        for name, version, value in servers.ask(kinds, _ASK, is_last_word=True):
            found[name.decode()] = value
            found.version = max(found.version, version)
        return found

    def identity(self) -> Identity:
        """Return the log's id, and the key that its tags are made with."""
        return Identity(self["log"], self["tag-key"])

    def bodies(self) -> Bodies:
        """Return what packs and unpacks the log's bodies; not for several threads."""
        dictionaries = {
            int(name.removeprefix(_DICTIONARY)): value
            for name, value in self.items()
            if name.startswith(_DICTIONARY)
        }
        named = self.get(DATA_KEYS)
        return Bodies(dictionaries, DataKeys(Path(named.decode())) if named else None)


def of_new_log() -> Mapping[str, bytes]:
    """Return the properties that a log begins with."""
    log = secrets.token_bytes(16)
    return {
        # The log's id is in every leaf; the keys make its tags and seal its page links.
        "log": log,
        # Its name in checkpoints changes when it is recovered from a backup.
        "origin": b"caretrail/" + log.hex().encode(),
        "keys": b"",
        "tag-key": secrets.token_bytes(32),
        "page-key": secrets.token_bytes(32),
        f"{_DICTIONARY}{bodies.DICTIONARY}": bodies.shipped(bodies.DICTIONARY),
    }
