"""What an operator says of drift: the `drift` section of sluice.yaml, and what a sidecar is told when it starts.

Which key takes which kind of value is here; what these are is `drift.kinds`' to say, where settings come from is not
known. A model may say otherwise than all: what `models` leaves out for it is as above.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final, Literal
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, SecretStr, field_validator

from drift.attribution import Act
from drift.kinds import (
    CapturedBytes,
    Days,
    File,
    HookName,
    Host,
    LearnRows,
    NameOfModel,
    Pauses,
    Port,
    Rows,
    SampleRate,
    Seconds,
    ServerName,
    ServerUrl,
    Share,
    StreamSize,
    Switch,
    Url,
    Variation,
    Windows,
)
from drift.sampling import WHOLE, SampleRule, SampleRules

OURS: Final = "sluice"
ALIBI: Final = "alibi:"

Backend = Literal[
    "sluice",
    "alibi:KSDrift",
    "alibi:CVMDrift",
    "alibi:ChiSquareDrift",
    "alibi:TabularDrift",
    "alibi:MMDDrift",
    "alibi:LSDDDrift",
]
"""Sluice's own detectors, or in the place of those for inputs one of alibi-detect's (docs/dependencies.md: licence)."""


class _Section(BaseModel):
    """No unknown keys, no change after reading, no values in pydantic's reports."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class WindowSettings(_Section):
    """When a window closes: it holds so many rows and spans so long, or it is `most_s` old."""

    rows: Rows = 500
    """No fewer than the baseline's calm windows have, whatever is said here."""
    seconds: Seconds = 60.0
    most_s: Seconds = 86_400.0
    """A window as old as that is heard with the rows that it has."""


class SampleSettings(_Section):
    """How much of a model's traffic is sampled by each gateway; what is not sampled is not watched."""

    share: Share = WHOLE
    """Of its requests, in parts per million."""
    rows_per_s: SampleRate = 50.0
    bytes_per_s: SampleRate = 1_048_576.0
    stream_bytes: StreamSize = 16_777_216
    """That may wait for a sidecar; beyond it the oldest fall off, and are counted."""

    def rule(self, learn_rows: int) -> SampleRule:
        """What gateways are told: a model without a baseline is sampled only where one is to be learned."""
        return SampleRule(self.share, self.rows_per_s, self.bytes_per_s, self.stream_bytes, always=learn_rows > 0)


Told = Literal[
    "drift.finding", "drift.retrain", "drift.rollback", "drift.notify", "drift.recommend", "drift.alert", "drift.paused"
]  # fmt: skip
"""What a webhook may ask to be told (`drift.webhooks.Kind`); a test of an operator's comes in any case."""


ACTIONS: Final[tuple[Told, ...]] = (
    "drift.retrain", "drift.rollback", "drift.notify", "drift.recommend", "drift.alert", "drift.paused",
)  # fmt: skip
"""What a webhook is told that says nothing: what follows from drift, and not each finding on the way there."""


class WebhookSettings(_Section):
    """Who hears of drift."""

    name: HookName = ""
    """For people; without one it is called by its host."""
    url: Url
    """Also `self`: the rollback target of this installation (docs/drift.md)."""
    secret_file: File
    """Holds secrets of Standard Webhooks, one a line, the newest first: `whsec_` and base64 (`drift.signing`)."""
    events: tuple[Told, ...] = ACTIONS


class WatchSettings(_Section):
    """How one model is watched."""

    window: WindowSettings = WindowSettings()
    false_alarm_days: Days = 30.0
    """At most one false alarm in so many days, on average, for each version."""
    floor: Variation = 0.05
    """Of what moved: total variation beyond that of calm windows, below which nobody hears of it."""
    quiet_windows: Windows = 5
    """So many in a row end an episode."""
    cool_down_s: Seconds = 3_600.0
    """What comes back within so many seconds is the same episode."""
    backend: Backend = "sluice"
    learn_rows: LearnRows = 0
    """A version without a baseline learns one of its first so many live requests; 0 is never."""
    captured_bytes: CapturedBytes = 16_777_216
    """Of samples that were read, kept in the store to train anew with: the oldest make room; 0 keeps none."""
    act: Act = Act.RECOMMEND
    """How much follows from a drift by itself."""
    settle_s: Seconds = 300.0
    """So long at most it is waited until every version was looked at, before anybody is blamed."""


class SidecarSettings(_Section):
    """The process that watches."""

    metrics_host: Host = "127.0.0.1"
    metrics_port: Port = 9_465
    """0 is any free one."""
    lease_s: Seconds = 6.0
    """Models of a sidecar that died are free after so long; it counts as one that shares for three times so long."""
    gateway_url: ServerUrl | None = None
    """Where encoders are asked; `sluice up` and the chart know by themselves."""
    gateway_key_file: File | None = None
    """Holds a key of the role operate, where the gateway asks for one; `sluice up` makes one for itself."""
    gateway_ca_file: File | None = None
    """PEM: whom the gateway's certificate must come from."""
    encoder_timeout_s: Seconds = 20.0
    """How long an encoder may take for one batch of rows."""


class EncoderSettings(_Section):
    """A server that encoders are asked at, beside the installation's own gateway."""

    name: ServerName
    url: ServerUrl
    key_file: File | None = None
    ca_file: File | None = None


class ModelDrift(_Section):
    """Of one model, where it is watched otherwise than all; what is left out is as for all."""

    name: NameOfModel
    enabled: Switch | None = None
    samples: SampleSettings | None = None
    window: WindowSettings | None = None
    false_alarm_days: Days | None = None
    floor: Variation | None = None
    quiet_windows: Windows | None = None
    cool_down_s: Seconds | None = None
    backend: Backend | None = None
    learn_rows: LearnRows | None = None
    captured_bytes: CapturedBytes | None = None
    act: Act | None = None
    settle_s: Seconds | None = None


class DriftSettings(WatchSettings):
    """The whole section."""

    enabled: Switch = True
    samples: SampleSettings = SampleSettings()
    sidecar: SidecarSettings = SidecarSettings()
    encoders: tuple[EncoderSettings, ...] = ()
    webhooks: tuple[WebhookSettings, ...] = ()
    webhook_pauses: Pauses = (5.0, 30.0, 120.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 28_800.0)
    """Seconds between attempts at a delivery, at most: each is drawn up to a quarter shorter."""
    rollback_secret_file: File | None = None
    """Opens the rollback target to whoever signs with a secret of it; webhooks to `self` bring their own."""
    models: tuple[ModelDrift, ...] = ()

    @field_validator("encoders")
    @classmethod
    def _of_one_name(cls, value: tuple[EncoderSettings, ...]) -> tuple[EncoderSettings, ...]:
        names = [one.name for one in value]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"the server {twice[0]} is there twice: give each a name of its own")
        return value

    @field_validator("models")
    @classmethod
    def _distinct(cls, value: tuple[ModelDrift, ...]) -> tuple[ModelDrift, ...]:
        names = [model.name for model in value]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"the model {twice[0]} is there twice: list it once")
        return value

    def of(self, model: str) -> WatchSettings:
        """How this model is watched."""
        said = self._said_of(model)
        ours = {name: getattr(self, name) for name in WatchSettings.model_fields}
        theirs = {name: getattr(said, name, None) for name in ours}
        return WatchSettings(**{name: ours[name] if one is None else one for name, one in theirs.items()})

    @property
    def watches_any(self) -> bool:
        """Whether there is anything to be watched."""
        return self.enabled or any(one.enabled for one in self.models)

    def watches(self, model: str) -> bool:
        """Whether this model is watched at all."""
        said = self._said_of(model)
        return self.enabled if said is None or said.enabled is None else said.enabled

    def sampling(self, redact: Iterable[str] = ()) -> SampleRules:
        """What gateways are told of all models.

        Args:
            redact: patterns of names whose values are not sampled.
        """
        rules = {one.name: (one.samples or self.samples).rule(self.of(one.name).learn_rows) for one in self.models}
        models = {name: rule if self.watches(name) else None for name, rule in rules.items()}
        return SampleRules(self.samples.rule(self.learn_rows) if self.enabled else None, models, tuple(redact))

    def _said_of(self, model: str) -> ModelDrift | None:
        return next((one for one in self.models if one.name == model), None)


class GatewaySettings(_Section):
    """The installation's own gateway, as whoever starts a sidecar beside it knows it.

    Attributes:
        url: of its prediction port.
        key: of the role operate; None where nobody is asked for one.
        certificate: PEM file of its own certificate, which alone is trusted then; None for whom the system trusts.
    """

    url: ServerUrl
    key: SecretStr | None = None
    certificate: File | None = None


_NOT_TOLD: Final = ("webhooks", "webhook_pauses", "rollback_secret_file")


class Installation(_Section):
    """What a sidecar is told when it starts, in a file that nobody else may read: the address may hold a password.

    Attributes:
        redis_url: with the files for TLS in its query.
        redis_ca_file: PEM: whom a rediss:// server's certificate must come from, where the address does not say.
        namespace: what all of this installation's keys begin with.
        gateway: where encoders are asked unless `drift.sidecar.gateway_url` says otherwise; None where nobody knows.
        drift: the section.
    """

    redis_url: SecretStr
    redis_ca_file: File | None = None
    namespace: str = "sluice"
    gateway: GatewaySettings | None = None
    drift: DriftSettings = DriftSettings()

    @property
    def store_url(self) -> str:
        """The store's address, as the client library takes it."""
        url = self.redis_url.get_secret_value()
        if self.redis_ca_file is None:
            return url
        return f"{url}{'&' if '?' in url else '?'}{urlencode({'ssl_ca_certs': self.redis_ca_file})}"

    def to_json(self) -> str:
        """As it stands in the file: with address and key, and without webhooks, which a sidecar does not call."""
        said = self.model_dump(mode="json", exclude={"drift": set(_NOT_TOLD)})
        if self.gateway is not None and self.gateway.key is not None:
            said["gateway"]["key"] = self.gateway.key.get_secret_value()
        return json.dumps({**said, "redis_url": self.redis_url.get_secret_value()})
