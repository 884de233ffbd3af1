"""What can be set of a witness."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from caretrail.errors import ConfigurationError
from caretrail.settings.server import LOG_LEVELS

WITNESS_PREFIX: Final = "CARETRAIL_WITNESS_"


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessSettings:
    """What can be set of a witness, by flags, `CARETRAIL_WITNESS_*` and a file."""

    data: Path = field(
        default=Path("caretrail-witness"), metadata={"help": "Where its key and state are."}
    )
    host: str = field(default="127.0.0.1", metadata={"help": "The address to listen on."})
    port: int = field(default=8090, metadata={"help": "The port to listen on; 0 takes a free one."})
    name: str = field(
        default="", metadata={"help": "Its name, given at the first start and then kept."}
    )
    logs: Path | None = field(
        default=None,
        metadata={
            "help": "A file of verifier keys of logs, one a line; read again when it changes."
        },
    )
    public_url: str = field(
        default="",
        metadata={"help": "The address of this witness as logs see it (behind a proxy)."},
    )
    sign_ml_dsa: bool = field(
        default=False, metadata={"help": "Cosign with ML-DSA-44, too, by a second key."}
    )
    log_level: str = field(
        default="info", metadata={"help": "What is logged: debug, info, warning or error."}
    )

    def __post_init__(self) -> None:
        """Refuse what cannot work, before anything is opened."""
        if not 0 <= self.port <= 65_535:
            raise ConfigurationError("--port is a number from 0 to 65535")
        if self.log_level not in LOG_LEVELS:
            raise ConfigurationError("--log-level is debug, info, warning or error")
