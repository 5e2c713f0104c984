"""The settings of one installation: which keys there are, what each takes, and where they are read from.

A YAML file (`sluice.yaml`, or the one that is named) and environment variables (`SLUICE_GATEWAY__WORKERS=2`; they win
over the file) give one frozen value. It is read once, at the door, and every mistake in it is named together. What
`docs/sluice.example.yaml` says of each key is the long form of what stands here. Whether a path, a port or a server
exists is left to whoever uses it: the settings of a machine must be readable on another one.
"""

from serving.settings.doors import (
    AccessSettings,
    ControlSettings,
    ListenSettings,
    MetricsSettings,
    TlsSettings,
    TokenSettings,
)
from serving.settings.installation import Settings
from serving.settings.loading import DEFAULT_FILE, OTHER_VARIABLES, PREFIX, load_settings
from serving.settings.models import ModelSettings, VersionSettings
from serving.settings.parts import (
    FeedbackSettings,
    GatewaySettings,
    RaySettings,
    RedisSettings,
    RegistrySettings,
    TritonSettings,
)
from serving.settings.payloads import PayloadSettings
from serving.settings.seeing import LogSettings, TracingSettings

__all__ = [
    "DEFAULT_FILE",
    "OTHER_VARIABLES",
    "PREFIX",
    "AccessSettings",
    "ControlSettings",
    "FeedbackSettings",
    "GatewaySettings",
    "ListenSettings",
    "LogSettings",
    "MetricsSettings",
    "ModelSettings",
    "PayloadSettings",
    "RaySettings",
    "RedisSettings",
    "RegistrySettings",
    "Settings",
    "TlsSettings",
    "TokenSettings",
    "TracingSettings",
    "TritonSettings",
    "VersionSettings",
    "load_settings",
]
