"""What this installation runs on and how much it takes on: the gateway, Redis, Ray, Triton, the registry."""

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlencode, urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from serving.kinds import AnyPath, Count, Pause, PodHost, PortRange, Ports, Seconds, Size, Switch, number, text, whole
from serving.settings.section import Section

_NAMESPACE = re.compile(r"[A-Za-z0-9_-]{1,64}")


class GatewaySettings(Section):
    """How much one gateway takes on, and how long it waits."""

    workers: Annotated[int, whole(1, 256)] = 1
    max_connections: Count = 10_000
    max_body_bytes: Size = 67_108_864
    max_header_bytes: Annotated[int, whole(1_024, 1_048_576)] = 65_536
    max_in_flight: Count = 1_000
    max_in_flight_per_version: Count = 1_000
    max_shadows: Count = 256
    upstream_timeout_s: Seconds = 60.0
    header_timeout_s: Seconds = 10.0
    idle_timeout_s: Seconds = 620.0
    upstream_idle_timeout_s: Seconds = 55.0
    attempt_timeout_s: Seconds = 10.0
    repeat_max_request_bytes: Annotated[int, whole(0, 2**30)] = 1_048_576
    repeat_max_response_bytes: Annotated[int, whole(0, 2**30)] = 65_536
    repeat_budget: Annotated[float, number(0, 1)] = 0.2
    ejection_s: Seconds = 30.0
    brake_s: Seconds = 30.0
    quarantine_s: Seconds = 60.0
    drain_delay_s: Pause = 0.0
    drain_limit_s: Pause = 20.0


class RedisSettings(Section):
    """Where policies, leases and counters are kept; without a URL, in an embedded Valkey."""

    url: SecretStr | None = None
    namespace: Annotated[str, text(_NAMESPACE.fullmatch, "up to 64 letters, digits, hyphens and underscores")] = (
        "sluice"
    )
    lease_s: Annotated[float, number(0.1, 3_600)] = 3.0
    poll_s: Annotated[float, number(0.01, 3_600), Field(validate_default=True)] = 1.0
    ca_file: AnyPath | None = None
    cert_file: AnyPath | None = None
    key_file: Annotated[AnyPath | None, Field(validate_default=True)] = None

    @field_validator("url", mode="before")
    @classmethod
    def _usable(cls, value: object) -> object:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if text is not None and not _is_redis_url(text):
            raise ValueError("it takes redis://host:port/0, rediss://… or unix:///path, or null (an embedded Valkey)")
        return value

    @field_validator("poll_s")
    @classmethod
    def _polls_within_a_lease(cls, value: float, info: ValidationInfo) -> float:
        lease_s = info.data.get("lease_s", value * 2)
        if value * 2 > lease_s:
            raise ValueError(
                f"a lease of {lease_s:g} s needs at least two polls in it: it takes {lease_s / 2:g} at most"
            )
        return value

    @field_validator("ca_file", "cert_file", "key_file")
    @classmethod
    def _for_tls(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        url = info.data.get("url")
        if value is not None and "url" in info.data and not (url and url.get_secret_value().startswith("rediss://")):
            raise ValueError("it goes with TLS: give redis.url as rediss://…, or leave it out")
        return value

    @field_validator("key_file")
    @classmethod
    def _pair(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if "cert_file" in info.data and (value is None) != (info.data["cert_file"] is None):
            raise ValueError("it goes with redis.cert_file: give both or neither")
        return value

    def reached_at(self, url: str) -> str:
        """The URL with the files for TLS in its query, where the client library looks for them.

        Args:
            url: of the server, this section's own or the embedded one's.
        """
        named = {"ssl_ca_certs": self.ca_file, "ssl_certfile": self.cert_file, "ssl_keyfile": self.key_file}
        query = urlencode({name: str(file) for name, file in named.items() if file is not None})
        return url + ("&" if "?" in url else "?") + query if query else url

    @property
    def address(self) -> str | None:
        """The URL without user, password and query, fit to be shown; None for the embedded Valkey."""
        if self.url is None:
            return None
        parts = urlsplit(self.url.get_secret_value())
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _is_redis_url(value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        return False
    if parts.scheme == "unix":
        return bool(parts.path)
    return parts.scheme in {"redis", "rediss"} and bool(parts.hostname) and port != 0


class RaySettings(Section):
    """Which Ray cluster this runs on; without an address, one of its own on this machine."""

    address: Annotated[str, text(str.strip, "the address of a cluster, such as 10.0.0.1:6379, or null")] | None = None
    num_cpus: Annotated[float | None, number(0.1, 100_000, null="all of this machine's")] = None


class TritonSettings(Section):
    """How the Triton servers of the pools are started."""

    binary: AnyPath | None = None
    host: PodHost = "127.0.0.1"
    port_range: Ports = PortRange(21_000, 21_999)
    ready_timeout_s: Seconds = 120.0
    ca_file: AnyPath | None = None


class FeedbackSettings(Section):
    """How late feedback may come, and how much of it is taken."""

    horizon_s: Annotated[float, number(1, 31_536_000)] = 604_800.0
    items_per_s: Annotated[int, whole(1, 1_000_000)] = 20_000


def _is_http(value: str) -> bool:
    return urlsplit(value).scheme in {"http", "https"} and bool(urlsplit(value).hostname)


def _is_source(value: str) -> bool:
    """What a web server redirects to lies below no root, so none is one (`registry.roots`)."""
    return bool(value.strip()) and not value.lower().startswith(("http:", "https:"))


Source = Annotated[str, text(_is_source, "folders, or addresses that fsspec knows, none of the web")]


class RegistrySettings(Section):
    """Where artifacts are kept, and where they may come from."""

    artifacts: Annotated[str, text(str.strip, "a folder or an address that fsspec knows, or null")] | None = None
    sources: tuple[Source, ...] = (".",)
    allow_pickle: Switch = False
    max_artifact_bytes: Size = 107_374_182_400
    max_artifact_files: Annotated[int, whole(1, 100_000)] = 100_000
    mlflow_uri: Annotated[str, text(_is_http, "http://host:port or https://…, or null")] | None = None
