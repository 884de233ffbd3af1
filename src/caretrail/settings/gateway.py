"""What can be set of a gateway."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from caretrail import limits
from caretrail.errors import ConfigurationError
from caretrail.settings.server import LOG_LEVELS

GATEWAY_PREFIX: Final = "CARETRAIL_GATEWAY_"


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """What can be set of a gateway, by flags, `CARETRAIL_GATEWAY_*` and a file."""

    upstream: str = field(
        default="", metadata={"help": "The base of the FHIR server that is audited."}
    )
    repository: str = field(
        default="", metadata={"help": "The FHIR base of the repository that gets the events."}
    )
    token_file: str = field(
        default="", metadata={"help": "A file with the bearer token for the repository."}
    )
    host: str = field(default="127.0.0.1", metadata={"help": "The address to listen on."})
    port: int = field(default=8081, metadata={"help": "The port to listen on; 0 takes a free one."})
    public_url: str = field(
        default="",
        metadata={"help": "The FHIR base as clients see it (default: this address, same path)."},
    )
    spool: Path = field(
        default=Path("caretrail-spool"), metadata={"help": "The folder in which events wait."}
    )
    on_failure: str = field(
        default="spool",
        metadata={
            "help": "While the repository takes no events: block requests, or spool the events."
        },
    )
    spool_bytes_max: int = field(
        default=limits.SPOOL_BYTES_DEFAULT,
        metadata={"help": "The size of a full spool, in bytes; then requests are refused."},
    )
    emergency: bool = field(
        default=False,
        metadata={"help": "Let requests pass unrecorded when the spool is full (a gap record)."},
    )
    pass_through: str = field(
        default="",
        metadata={"help": "Path prefixes, by comma, that are passed on without a record: /auth."},
    )
    token_endpoints: str = field(
        default="",
        metadata={
            "help": "Endpoints of the authorization server that are passed on and recorded,"
            " besides the usual ones below the FHIR base and pass_through: token=/oauth2/token,"
            " revoke=/oauth2/revoke. none switches their recognition off."
        },
    )
    upstream_verifies_tokens: bool = field(
        default=False,
        metadata={"help": "Record the claims of tokens that the server has accepted."},
    )
    upstream_seconds: int = field(
        default=limits.UPSTREAM_SECONDS_DEFAULT,
        metadata={"help": "How long the server may be silent, in seconds."},
    )
    upstream_ca_file: str = field(
        default="",
        metadata={"help": "The certificates (PEM) that an https server is checked by."},
    )
    repository_ca_file: str = field(
        default="",
        metadata={"help": "The certificates (PEM) that an https repository is checked by."},
    )
    site: str = field(default="", metadata={"help": "The site that events name (source.site)."})
    log_level: str = field(
        default="info", metadata={"help": "What is logged: debug, info, warning or error."}
    )

    def __post_init__(self) -> None:
        """Refuse what cannot work, before anything is opened."""
        if not self.upstream or not self.repository:
            raise ConfigurationError("a gateway needs --upstream URL and --repository URL")
        if not 0 <= self.port <= 65_535:
            raise ConfigurationError("--port is a number from 0 to 65535")
        if self.on_failure not in ("block", "spool"):
            raise ConfigurationError("--on-failure is block or spool")
        if self.host in ("0.0.0.0", "::") and not self.public_url:  # noqa: S104  (a comparison)
            raise ConfigurationError(
                "clients cannot follow links to every address: tell theirs with --public-url"
            )
        if self.spool_bytes_max < limits.SPOOL_BYTES_MIN:
            raise ConfigurationError(f"a spool has at least {limits.SPOOL_BYTES_MIN} bytes")
        if self.upstream_seconds < 1:
            raise ConfigurationError("--upstream-seconds is a positive number")
        if self.log_level not in LOG_LEVELS:
            raise ConfigurationError("--log-level is debug, info, warning or error")
        if not all(one.startswith("/") and len(one) > 1 for one in self.prefixes):
            raise ConfigurationError("--pass-through has paths such as /auth")

    @property
    def prefixes(self) -> tuple[str, ...]:
        """Return the path prefixes that are passed on without a record."""
        parts = (one.strip().rstrip("/") for one in self.pass_through.split(","))
        return tuple(one for one in parts if one)
