"""The settings: one row each, the same name as a flag, an environment variable and in a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from caretrail import limits
from caretrail.errors import ConfigurationError

PREFIX: Final = "CARETRAIL_"
_LEVELS: Final = ("debug", "info", "warning", "error")
LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set. A flag wins over the environment, and that over the file.

    In the log's own events a value is `shown` where the row says so, and else there by a digest; a
    file whose `content` is a setting itself counts by that.
    """

    data: Path = field(
        default=Path("caretrail-data"), metadata={"help": "The data folder of the embedded store."}
    )
    store: str = field(
        default="",
        metadata={"help": "The store, as a URL: sqlite:///FOLDER (default: the data folder)."},
    )
    host: str = field(
        default="127.0.0.1", metadata={"shown": True, "help": "The address to listen on."}
    )
    port: int = field(
        default=8080, metadata={"shown": True, "help": "The port to listen on; 0 takes a free one."}
    )
    insecure_no_auth: bool = field(
        default=False,
        metadata={
            "shown": True,
            "help": "Let everybody in, without a credential. For trials, on loopback only.",
        },
    )
    public_url: str = field(
        default="",
        metadata={
            "shown": True,
            "help": "The address of this server as clients see it, for links (behind a proxy).",
        },
    )
    require_date: bool = field(
        default=False,
        metadata={"shown": True, "help": "Refuse a search without a date, as strict ITI-81 does."},
    )
    producer: str = field(
        default="token",
        metadata={
            "shown": True,
            "help": "The name under which events of the built-in token are filed.",
        },
    )
    organisation: str = field(
        default="",
        metadata={
            "shown": True,
            "help": "The organisation under which events of that token are filed.",
        },
    )
    checkpoint_store: Path | None = field(
        default=None,
        metadata={
            "help": "The file of the last signed checkpoint, outside the data folder"
            " (default: beside it, with the ending .checkpoint)."
        },
    )
    accept_new_checkpoint_store: bool = field(
        default=False,
        metadata={
            "shown": True,
            "help": "Start without the last signed checkpoint, once. It is recorded.",
        },
    )
    signing_key: Path | None = field(
        default=None,
        metadata={"help": "The file of the log's signing key (default: in the data folder)."},
    )
    signing_passphrase_file: Path | None = field(
        default=None, metadata={"help": "The file of the signing key's passphrase."}
    )
    signing_command: str = field(
        default="",
        metadata={
            "help": "A command that signs instead of a key file: it gets the text, and prints the"
            " Ed25519 signature in base64."
        },
    )
    signing_command_key: str = field(
        default="",
        metadata={"shown": True, "help": "The verifier key of that command, name+id+key."},
    )
    sign_ml_dsa: bool = field(
        default=False, metadata={"shown": True, "help": "Sign checkpoints with ML-DSA-44, too."}
    )
    witness_policy: Path | None = field(
        default=None,
        metadata={
            "content": True,
            "help": "A C2SP tlog-policy file: the witnesses to ask, and their quorum.",
        },
    )
    timestamp_url: str = field(
        default="", metadata={"help": "A time-stamping authority (RFC 3161) for checkpoints."}
    )
    timestamp_certificates: Path | None = field(
        default=None,
        metadata={
            "content": True,
            "help": "The authority's certificates, in PEM, with their root.",
        },
    )
    worm_folder: Path | None = field(
        default=None, metadata={"help": "A write-once folder for checkpoints and time stamps."}
    )
    data_keys: Path | None = field(
        default=None,
        metadata={
            "help": "The file of data keys, one a month, outside the data folder: with it, contents"
            " are encrypted from then on."
        },
    )
    log_access: str = field(
        default="hashes",
        metadata={
            "shown": True,
            "help": "What of /log needs no credential: public (all), hashes (checkpoint and hash"
            " tiles), private (nothing).",
        },
    )
    copy_window_hours: int = field(
        default=0,
        metadata={
            "shown": True,
            "help": "How long an event that is sent again is recognised, by its receipt; 0 is for"
            " ever.",
        },
    )
    verify_hours: int = field(
        default=24,
        metadata={
            "shown": True,
            "help": "The server verifies its whole log beside its work, this long after the last"
            " time; 0 switches it off.",
        },
    )
    authorization_server: bool = field(
        default=True,
        metadata={
            "shown": True,
            "help": "Let people sign in, and give out tokens, at /auth. It is off with"
            " --insecure-no-auth, and needs --public-url with https where others reach the port.",
        },
    )
    access_token_seconds: int = field(
        default=300, metadata={"shown": True, "help": "How long an access token is valid."}
    )
    refresh_token_hours: int = field(
        default=720,
        metadata={
            "shown": True,
            "help": "How long an application may go on with what a person has permitted.",
        },
    )
    session_idle_minutes: int = field(
        default=15,
        metadata={"shown": True, "help": "How long somebody who is signed in may do nothing."},
    )
    require_second_factor: bool = field(
        default=True,
        metadata={
            "shown": True,
            "help": "Ask administrators, auditors, privacy and security officers for a second"
            " factor.",
        },
    )
    two_person_approval: bool = field(
        default=False,
        metadata={
            "shown": True,
            "help": "Erasing, ending a hold and changing the key take a second person:"
            " `caretrail approve`.",
        },
    )
    console: bool = field(
        default=True, metadata={"shown": True, "help": "Give people the web console, at /console."}
    )
    console_issuer: str = field(
        default="",
        metadata={
            "shown": True,
            "help": "The OpenID Connect issuer at which people sign in to the console (default: the"
            " authorization server in this process).",
        },
    )
    console_client: str = field(
        default="caretrail-console",
        metadata={"shown": True, "help": "The id of the console as a client of that issuer."},
    )
    console_client_secret_file: Path | None = field(
        default=None,
        metadata={"help": "The file of the client's secret (default: a public client, with PKCE)."},
    )
    identities: Path | None = field(
        default=None,
        metadata={
            "content": True,
            "help": "A TOML file of who may come in: issuers of tokens, client certificates, shares.",
        },
    )
    token_roles: str = field(
        default="",
        metadata={
            "shown": True,
            "help": "What the data folder's token is good for beside other identities: roles, by"
            " comma, or all (default: nothing; without others: all).",
        },
    )
    staff_disclosure: str = field(
        default="role",
        metadata={
            "shown": True,
            "help": "What patients are told of staff: name (and role), role, or organisation (only).",
        },
    )
    source_rate: int = field(
        default=0,
        metadata={
            "shown": True,
            "help": "How many events a second each source may record; 0 is without a bound.",
        },
    )
    tls_cert: Path | None = field(
        default=None, metadata={"help": "The server's certificate with its chain, in PEM."}
    )
    tls_key: Path | None = field(
        default=None, metadata={"help": "The certificate's key, in PEM (default: in its file)."}
    )
    client_ca: Path | None = field(
        default=None,
        metadata={
            "content": True,
            "help": "Certificates in PEM, of authorities or of sources: clients may show one that"
            " leads to them.",
        },
    )
    clinic: bool = field(
        default=False,
        metadata={
            "shown": True,
            "help": "Keep resources of all other types, too, and record what is done with them.",
        },
    )
    event_bytes_max: int = field(
        default=limits.EVENT_BYTES_MAX,
        metadata={"shown": True, "help": "The largest event taken, in bytes."},
    )
    bundle_entries_max: int = field(
        default=limits.BUNDLE_ENTRIES_MAX,
        metadata={"shown": True, "help": "The most entries of a Bundle."},
    )
    bundle_bytes_max: int = field(
        default=limits.BUNDLE_BYTES_MAX,
        metadata={"shown": True, "help": "The largest Bundle taken, in bytes."},
    )
    log_level: str = field(
        default="info",
        metadata={"shown": True, "help": "What is logged: debug, info, warning or error."},
    )

    def __post_init__(self) -> None:
        """Refuse what cannot work, before anything is opened."""
        if self.insecure_no_auth and self.host not in LOOPBACK:
            raise ConfigurationError(
                "--insecure-no-auth works on loopback only: leave it out, or use --host 127.0.0.1"
            )
        if not 0 <= self.port <= 65_535:
            raise ConfigurationError("--port is a number from 0 to 65535")
        if self.store and not self.store.startswith("sqlite:///"):
            raise ConfigurationError("--store is sqlite:///FOLDER in this version")
        if self.log_level not in _LEVELS:
            raise ConfigurationError("--log-level is debug, info, warning or error")
        if self.log_access not in ("public", "hashes", "private"):
            raise ConfigurationError("--log-access is public, hashes or private")
        if self.staff_disclosure not in ("name", "role", "organisation"):
            raise ConfigurationError("--staff-disclosure is name, role or organisation")
        if self.source_rate < 0:
            raise ConfigurationError("--source-rate is 0 or more")
        if self.tls_cert is None and (self.tls_key or self.client_ca):
            raise ConfigurationError("--tls-key and --client-ca go with --tls-cert")
        if self.insecure_no_auth and (self.identities or self.token_roles):
            raise ConfigurationError(
                "--insecure-no-auth lets everybody in: leave it out, or the identities"
            )
        if self.verify_hours < 0:
            raise ConfigurationError("--verify-hours is 0 or more")
        if bool(self.signing_command) != bool(self.signing_command_key):
            raise ConfigurationError("--signing-command and --signing-command-key go together")
        if not 30 <= self.access_token_seconds <= 3600:
            raise ConfigurationError("--access-token-seconds is a number from 30 to 3600")
        if self.refresh_token_hours < 1 or self.session_idle_minutes < 1:
            raise ConfigurationError(
                "--refresh-token-hours and --session-idle-minutes are 1 or more"
            )
        if self.copy_window_hours < 0:
            raise ConfigurationError("--copy-window-hours is 0 or more")
        bounds = (self.event_bytes_max, self.bundle_entries_max, self.bundle_bytes_max)
        if min(bounds) < 1 or self.event_bytes_max > limits.EVENT_BYTES_MAX:
            raise ConfigurationError(f"an event may have 1 to {limits.EVENT_BYTES_MAX} bytes")
        if (
            self.bundle_entries_max > limits.COMMIT_ENTRIES_MAX
            or self.bundle_bytes_max > limits.COMMIT_BYTES_MAX
        ):
            raise ConfigurationError(
                f"a Bundle is one commit: at most {limits.COMMIT_ENTRIES_MAX} entries and"
                f" {limits.COMMIT_BYTES_MAX} bytes"
            )

    @property
    def folder(self) -> Path:
        """Return the data folder, whichever setting names it."""
        return Path(self.store.removeprefix("sqlite:///")) if self.store else self.data


GATEWAY_PREFIX: Final = "CARETRAIL_GATEWAY_"
WITNESS_PREFIX: Final = "CARETRAIL_WITNESS_"


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
        if self.log_level not in _LEVELS:
            raise ConfigurationError("--log-level is debug, info, warning or error")
        if not all(one.startswith("/") and len(one) > 1 for one in self.prefixes):
            raise ConfigurationError("--pass-through has paths such as /auth")

    @property
    def prefixes(self) -> tuple[str, ...]:
        """Return the path prefixes that are passed on without a record."""
        parts = (one.strip().rstrip("/") for one in self.pass_through.split(","))
        return tuple(one for one in parts if one)


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
        if self.log_level not in _LEVELS:
            raise ConfigurationError("--log-level is debug, info, warning or error")


AnySettings = Settings | GatewaySettings | WitnessSettings
