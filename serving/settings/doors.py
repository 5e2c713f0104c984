"""The doors in the settings: where each listens, what encrypts it, and who is let in.

Secrets come from the environment or from files, and are never shown. That a file is there, and holds what it should,
is left to whoever opens it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, ValidationInfo, field_validator, model_validator

from serving.access.keys import SHAPE, parse
from serving.access.roles import Role
from serving.addresses import is_loopback
from serving.kinds import AnyPath, Host, Port, Seconds, Switch, number, text, whole
from serving.settings.section import Section

ALGORITHMS = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip
"""What may sign a token: asymmetric ones only. With a shared secret, whoever verifies could sign as well."""

_ROLES = tuple(role.value for role in Role)
_CLAIM = re.compile(r"[^.\s]+(\.[^.\s]+)*")
_ORIGIN = re.compile(r"https?://(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")
_LARGEST_PORT = 65_535
_HOST_NAME = re.compile(r"[A-Za-z0-9.:_-]{1,253}")

Claim = Annotated[str, text(_CLAIM.fullmatch, "a claim's name, or names with dots between them for nested objects")]
RoleName = Annotated[str, text(_ROLES.__contains__, f"one of the roles {', '.join(_ROLES)}")]
Algorithm = Annotated[str, text(ALGORITHMS.__contains__, f"algorithms with two keys only: {', '.join(ALGORITHMS)}")]
HostName = Annotated[str, text(_HOST_NAME.fullmatch, "names or addresses as they stand in a URL, without a port")]


def _is_safe_url(value: str) -> bool:
    """Keys that say who is let in must not be changed on their way: in the clear from this machine alone."""
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        return False
    return bool(parts.hostname) and (
        parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))
    )


def _is_origin(value: str) -> bool:
    """A scheme, a host and maybe a port, written as the origin of an address is compared with it."""
    found = _ORIGIN.fullmatch(value)
    return found is not None and 0 < int(found[1] or 1) <= _LARGEST_PORT


_ORIGINS = "origins such as https://ci.example or http://10.0.0.7:9000, without a path"
Origin = Annotated[str, text(_is_origin, _ORIGINS)]
_URL_WORDS = "https://… (http:// from this machine only)"


class ListenSettings(Section):
    """Where clients send their predictions."""

    host: Host = "127.0.0.1"
    http_port: Port = 8000
    grpc: Switch = True
    grpc_port: Port = 8001

    @model_validator(mode="before")
    @classmethod
    def _free_both(cls, given: object) -> object:
        """Who takes any free port for one takes any for the other, unless they say more."""
        if isinstance(given, dict) and given.get("http_port") in {0, "0"} and given.get("grpc_port") is None:
            return {**given, "grpc_port": 0}
        return given


class ControlSettings(Section):
    """Where operators and their tools reach the control API."""

    host: Host = "127.0.0.1"
    port: Port = 8080
    allowed_hosts: tuple[HostName, ...] = ()
    trusted_addresses: tuple[Origin, ...] = ()


class MetricsSettings(Section):
    """Where Prometheus reads."""

    enabled: Switch = True
    host: Host = "127.0.0.1"
    port: Port = 8002


def _as_version(value: object) -> object:
    """YAML reads 1.2 as a number."""
    if str(value) not in {"1.2", "1.3"}:
        raise ValueError("it takes 1.2 or 1.3: older versions of TLS are broken")
    return str(value)


class TlsSettings(Section):
    """The certificate of all listeners; without one they speak in the clear."""

    certificate: AnyPath | None = None
    key: Annotated[AnyPath | None, Field(validate_default=True)] = None
    reload_s: Seconds = 5.0
    min_version: Annotated[str, BeforeValidator(_as_version)] = "1.2"

    @field_validator("key")
    @classmethod
    def _pair(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if "certificate" in info.data and (value is None) != (info.data["certificate"] is None):
            raise ValueError("it goes with tls.certificate: give both or neither")
        return value

    @property
    def on(self) -> bool:
        """Whether our listeners are encrypted."""
        return self.certificate is not None


class TokenSettings(Section):
    """Whose tokens (JWT) are taken, and what is read from them."""

    issuer: Annotated[str, text(str.strip, "the exact `iss` of the tokens, such as https://login.example.com")]
    audience: Annotated[str, text(str.strip, "the name that the tokens' `aud` must contain")] = "sluice"
    jwks_url: Annotated[
        Annotated[str, text(_is_safe_url, _URL_WORDS)] | None, Field(validate_default=True)
    ] = None  # fmt: skip
    algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1)] = ("RS256", "ES256")
    leeway_s: Annotated[float, number(0, 300)] = 30.0
    role_claim: Claim = "sluice_role"
    roles: Mapping[str, RoleName] = {}
    default_role: RoleName | None = None
    models_claim: Claim = "sluice_models"
    refresh_s: Annotated[float, number(1, 86_400)] = 300.0

    @field_validator("jwks_url")
    @classmethod
    def _discoverable(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None and "issuer" in info.data and not _is_safe_url(info.data["issuer"]):
            raise ValueError(f"the issuer's keys can be found only where access.tokens.issuer is {_URL_WORDS}: name it")
        return value


class AccessSettings(Section):
    """Who is let in."""

    required: Switch = False
    admin_key: SecretStr | None = None
    admin_key_file: AnyPath | None = None
    security_log: AnyPath | None = None
    request_id_key_days: Annotated[int, whole(1, 3_650)] = 30
    tokens: TokenSettings | None = None

    @field_validator("admin_key", mode="before")
    @classmethod
    def _a_key(cls, value: object) -> object:
        said = value.get_secret_value() if isinstance(value, SecretStr) else value
        if said is not None and not (isinstance(said, str) and parse(said)):
            raise ValueError(f"it takes a key ({SHAPE}): make one with `sluice keys generate`")
        return value

    @field_validator("admin_key_file")
    @classmethod
    def _one_source(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is not None and info.data.get("admin_key") is not None:
            raise ValueError("access.admin_key is given as well: name the file or the key, not both")
        return value
