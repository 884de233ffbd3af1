"""The settings: one row each, the same name as a flag, an environment variable and in a file."""

from caretrail.settings.gateway import GATEWAY_PREFIX, GatewaySettings
from caretrail.settings.server import LOOPBACK, PREFIX, Settings, told
from caretrail.settings.witness import WITNESS_PREFIX, WitnessSettings

AnySettings = Settings | GatewaySettings | WitnessSettings

__all__ = [
    "GATEWAY_PREFIX",
    "LOOPBACK",
    "PREFIX",
    "WITNESS_PREFIX",
    "AnySettings",
    "GatewaySettings",
    "Settings",
    "WitnessSettings",
    "told",
]
