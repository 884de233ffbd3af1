"""The documents by which clients find everything: SMART, OpenID Connect and OAuth discovery."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from caretrail.access.server import granting
from caretrail.access.server.assertions import ALGORITHMS
from caretrail.access.server.grants import CHALLENGE_METHOD
from caretrail.access.server.keys import ALGORITHM

if TYPE_CHECKING:
    from caretrail.access.server.desk import Rules

# SMART App Launch 2, conformance: what this server can do.
CAPABILITIES: Final = (
    "launch-ehr",
    "launch-standalone",
    "authorize-post",
    "client-public",
    "client-confidential-symmetric",
    "client-confidential-asymmetric",
    "sso-openid-connect",
    "context-banner",
    "context-ehr-patient",
    "context-standalone-patient",
    "permission-offline",
    "permission-online",
    "permission-patient",
    "permission-user",
    "permission-v1",
    "permission-v2",
)
_METHODS: Final = ("private_key_jwt", "client_secret_basic", "client_secret_post")


def metadata(rules: Rules) -> dict[str, Any]:
    """Return what all three documents share (RFC 8414, 2)."""
    issuer = rules.issuer
    return {
        "issuer": issuer,
        "jwks_uri": f"{issuer}/jwks",
        "authorization_endpoint": f"{issuer}/authorize",
        "token_endpoint": f"{issuer}/token",
        "token_endpoint_auth_methods_supported": [*_METHODS, "none"],
        "token_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
        "introspection_endpoint": f"{issuer}/introspect",
        "introspection_endpoint_auth_methods_supported": list(_METHODS),
        "revocation_endpoint": f"{issuer}/revoke",
        "revocation_endpoint_auth_methods_supported": [*_METHODS, "none"],
        "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "scopes_supported": list(granting.SCOPES_SUPPORTED),
        "code_challenge_methods_supported": [CHALLENGE_METHOD],
        "authorization_response_iss_parameter_supported": True,
    }


def smart_configuration(rules: Rules) -> dict[str, Any]:
    """Return `.well-known/smart-configuration` of the FHIR base (SMART App Launch 2)."""
    launch = {"launch_endpoint": f"{rules.issuer}/launch"}
    return metadata(rules) | {"capabilities": list(CAPABILITIES)} | launch


def openid_configuration(rules: Rules) -> dict[str, Any]:
    """Return `.well-known/openid-configuration` of the issuer (OpenID Connect Discovery 1.0)."""
    return metadata(rules) | {
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [ALGORITHM],
        "claims_supported": ["sub", "name", "preferred_username", "fhirUser", "auth_time", "amr"],
        "end_session_endpoint": f"{rules.issuer}/sign-out",
        "prompt_values_supported": ["none", "login"],
        "request_uri_parameter_supported": False,
    }
