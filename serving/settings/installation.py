"""Everything that one installation can be told, and what two sections can get wrong together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import field_validator, model_validator

from drift.settings import DriftSettings
from serving.addresses import is_loopback
from serving.kinds import AnyPath, PortRange
from serving.settings.doors import AccessSettings, ControlSettings, ListenSettings, MetricsSettings, TlsSettings
from serving.settings.models import ModelSettings
from serving.settings.parts import (
    FeedbackSettings,
    GatewaySettings,
    RaySettings,
    RedisSettings,
    RegistrySettings,
    TritonSettings,
)
from serving.settings.payloads import PayloadSettings
from serving.settings.section import Section
from serving.settings.seeing import LogSettings, TracingSettings


class Settings(Section):
    """Everything that one installation can be told. Build it with `load_settings`."""

    state_dir: AnyPath = Path(".sluice")
    listen: ListenSettings = ListenSettings()
    control: ControlSettings = ControlSettings()
    metrics: MetricsSettings = MetricsSettings()
    tls: TlsSettings = TlsSettings()
    access: AccessSettings = AccessSettings()
    gateway: GatewaySettings = GatewaySettings()
    redis: RedisSettings = RedisSettings()
    ray: RaySettings = RaySettings()
    triton: TritonSettings = TritonSettings()
    registry: RegistrySettings = RegistrySettings()
    payloads: PayloadSettings = PayloadSettings()
    tracing: TracingSettings = TracingSettings()
    logs: LogSettings = LogSettings()
    feedback: FeedbackSettings = FeedbackSettings()
    drift: DriftSettings = DriftSettings()
    models: tuple[ModelSettings, ...] = ()

    @field_validator("models")
    @classmethod
    def _distinct(cls, value: tuple[ModelSettings, ...]) -> tuple[ModelSettings, ...]:
        names = [model.name for model in value]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"the model {twice[0]} is there twice: list it once, with all of its versions")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if lines := [*exposed(self.hosts, required=self.access.required), *clashes(self.ports, self.triton.port_range)]:
            raise TogetherError("\n".join(lines))
        return self

    @property
    def hosts(self) -> Mapping[str, str]:
        """Where our listeners bind, by the setting that says so."""
        metrics = {"metrics.host": self.metrics.host} if self.metrics.enabled else {}
        drift = {"drift.sidecar.metrics_host": self.drift.sidecar.metrics_host} if self.drift.watches_any else {}
        return {"listen.host": self.listen.host, "control.host": self.control.host, **metrics, **drift}

    @property
    def ports(self) -> Mapping[str, int]:
        """The ports of our listeners, by the setting that says so."""
        grpc = {"listen.grpc_port": self.listen.grpc_port} if self.listen.grpc else {}
        metrics = {"metrics.port": self.metrics.port} if self.metrics.enabled else {}
        drift = {"drift.sidecar.metrics_port": self.drift.sidecar.metrics_port} if self.drift.watches_any else {}
        return {
            "listen.http_port": self.listen.http_port,
            **grpc,
            "control.port": self.control.port,
            **metrics,
            **drift,
        }

    @property
    def security_log(self) -> Path:
        """Where refused attempts are written."""
        return self.access.security_log or self.state_dir / "logs" / "security.log"


class TogetherError(ValueError):
    """What is wrong with several keys at once, so its lines bring their own."""


def exposed(hosts: Mapping[str, str], *, required: bool) -> list[str]:
    """One line for each listener that other machines would reach while nobody is asked who they are.

    Args:
        hosts: where listeners bind, by setting.
        required: whether everybody is asked for a key or a token.
    """
    return [
        f"{key}: {host!r} is given, but other machines reach it, and nobody is asked for a key: set access.required to "
        "true, with access.admin_key_file, access.admin_key or access.tokens (or keys that were made before with "
        "`sluice keys create`), or bind 127.0.0.1"
        for key, host in hosts.items()
        if not required and not is_loopback(host)
    ]


def clashes(ports: Mapping[str, int], pool: PortRange) -> list[str]:
    """One line for each pair of listeners on one port. The host does not matter: such a pair only confuses."""
    lines = [
        f"{one}: {port} is given, but {other} has it too: two listeners need two ports"
        for index, (one, port) in enumerate(ports.items())
        for other in list(ports)[:index]
        if port and port == ports[other]
    ]
    inside = [
        f"{key}: {port} is given, but it lies in triton.port_range ({pool}): take one outside"
        for key, port in ports.items()
        if port in pool
    ]
    return [*lines, *inside]
