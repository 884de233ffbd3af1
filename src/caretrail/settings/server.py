"""What can be set of a server, and of the commands that open its log."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from caretrail import limits, tenants
from caretrail.errors import ConfigurationError

PREFIX: Final = "CARETRAIL_"
LOG_LEVELS: Final = ("debug", "info", "warning", "error")
_EMBEDDED: Final = "sqlite:///"
LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set. A flag wins over the environment, and that over the file.

    In the log's own events a value is `shown` where the row says so, and else there by a digest; a
    file whose `content` is a setting itself counts by that, and a `url` without its password.
    """

    data: Path = field(
        default=Path("caretrail-data"), metadata={"help": "The data folder of the embedded store."}
    )
    store: str = field(
        default="",
        metadata={
            "url": True,
            "help": "The store, as a URL: sqlite:///FOLDER (default: the data folder),"
            " postgresql://USER@HOST/DATABASE, or clickhouse://HOST,HOST/DATABASE?zookeeper=HOST.",
        },
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
    feeds: Path | None = field(
        default=None,
        metadata={
            "content": True,
            "help": "A TOML file of feeds: where events go on to, which, and in which format.",
        },
    )
    alerts: Path | None = field(
        default=None,
        metadata={
            "content": True,
            "help": "A TOML file of alerts: who is told, by mail or webhook, and from when on.",
        },
    )
    subscription_hosts: str = field(
        default="",
        metadata={
            "shown": True,
            "help": "Hosts, by comma, to which Subscriptions may send though they are inside the"
            " own network.",
        },
    )
    source_rate: int = field(
        default=0,
        metadata={
            "shown": True,
            "help": "How many events a second each source may record; 0 is without a bound.",
        },
    )
    syslog_tls_port: int = field(
        default=0,
        metadata={
            "shown": True,
            "help": "The port for syslog over TLS (RFC 5425), commonly 6514: senders show a"
            " certificate of --client-ca that the identities name. 0 is off.",
        },
    )
    syslog_udp_port: int = field(
        default=0,
        metadata={
            "shown": True,
            "help": "The port for syslog over UDP (RFC 5426), commonly 514: nobody proves who he"
            " is. 0 is off.",
        },
    )
    syslog_tcp_port: int = field(
        default=0,
        metadata={
            "shown": True,
            "help": "The port for syslog over TCP in clear, on 127.0.0.1 whatever the host is."
            " 0 is off.",
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
    tenants: str = field(
        default="",
        metadata={
            "shown": True,
            "help": "Names of further logs, by comma: each has its own tree, key and people, in the"
            " data folder's t/NAME and at /t/NAME.",
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
        if self.store and "://" not in self.store:
            raise ConfigurationError(
                "--store is a URL such as sqlite:///FOLDER or postgresql://USER@HOST/DATABASE"
            )
        tenants.check(self.tenants)
        if self.tenants and self.store and not self._is_embedded:
            raise ConfigurationError("--tenants are logs of the embedded store: leave out --store")
        if self.tenants and self.signing_command:
            raise ConfigurationError("--signing-command signs for one log: leave out --tenants")
        if self.log_level not in LOG_LEVELS:
            raise ConfigurationError("--log-level is debug, info, warning or error")
        if self.log_access not in ("public", "hashes", "private"):
            raise ConfigurationError("--log-access is public, hashes or private")
        if self.staff_disclosure not in ("name", "role", "organisation"):
            raise ConfigurationError("--staff-disclosure is name, role or organisation")
        if self.source_rate < 0:
            raise ConfigurationError("--source-rate is 0 or more")
        if not all(0 <= one <= 65_535 for one in self.syslog_ports):
            raise ConfigurationError("the ports of syslog are numbers from 0 to 65535")
        if self.syslog_tls_port and not self.tls_cert:
            raise ConfigurationError("--syslog-tls-port goes with --tls-cert")
        known = self.insecure_no_auth or (self.client_ca and self.identities)
        if self.syslog_tls_port and not known:
            raise ConfigurationError(
                "--syslog-tls-port goes with --client-ca, and with --identities that name who may"
                " send"
            )
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
    def syslog_ports(self) -> tuple[int, int, int]:
        """Return the ports for syslog over TLS, UDP and TCP; 0 is off."""
        return self.syslog_tls_port, self.syslog_udp_port, self.syslog_tcp_port

    @property
    def folder(self) -> Path:
        """Return the data folder, whichever setting names it."""
        return Path(self.store.removeprefix(_EMBEDDED)) if self._is_embedded else self.data

    @property
    def _is_embedded(self) -> bool:
        return self.store.startswith(_EMBEDDED)


def told(settings: Settings, name: str) -> str:
    """Return a setting as text, without a password that stands in it."""
    value = getattr(settings, name)
    (row,) = (row for row in fields(settings) if row.name == name)
    text = "" if value is None else str(value)
    if not row.metadata.get("url") or not text:
        return text
    parts = urlsplit(text)
    if "@" not in parts.netloc and not parts.query:
        return text
    user, at, host = parts.netloc.rpartition("@")
    # A query may name a password as well.
    return urlunsplit((parts.scheme, user.partition(":")[0] + at + host, parts.path, "", ""))
