"""The settings of one installation: which keys there are, what each takes, and where they are read from.

A YAML file (`sluice.yaml`, or the one that is named) and environment variables (`SLUICE_GATEWAY__WORKERS=2`; they win
over the file) give one frozen value. It is read once, at the door, and every mistake in it is named together. What
`docs/sluice.example.yaml` says of each key is the long form of what stands here. Whether a path, a port or a server
exists is left to whoever uses it: the settings of a machine must be readable on another one.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from router.policy import WHOLE, Policy, format_share, parse_share
from serving.document import merged, nested, parse, read
from serving.endpoint import MODEL_NAME
from serving.errors import SettingsError
from serving.kinds import (
    NUMERAL,
    Address,
    AnyAddress,
    AnyPath,
    Count,
    LoopbackHost,
    Pause,
    Port,
    PortRange,
    Ports,
    Seconds,
    Size,
    VersionNumber,
    number,
    text,
    whole,
)
from serving.mistakes import mistakes_of, no_such
from serving.pools import PoolOptions

PREFIX = "SLUICE_"
DEFAULT_FILE = Path("sluice.yaml")
OTHER_VARIABLES = ("SLUICE_CONFIG", "SLUICE_URL", "SLUICE_TRITON_BINARY", "SLUICE_CACHE_DIR", "SLUICE_RUN")
"""Variables with our prefix that are no setting: the settings file, the CLI's address, Triton's binary, its cache, the
mark of a run (`serving.sweeper`)."""

_NAMESPACE = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PROTOCOL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


class _Section(BaseModel):
    """What all sections have in common: no unknown keys, no change after reading, no values in pydantic's reports."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=False)


class ListenSettings(_Section):
    """Where clients send their predictions."""

    host: LoopbackHost = "127.0.0.1"
    http_port: Port = 8000


class ControlSettings(_Section):
    """Where operators and their tools reach the control API."""

    host: LoopbackHost = "127.0.0.1"
    port: Port = 8080


class GatewaySettings(_Section):
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
    brake_s: Seconds = 10.0
    quarantine_s: Seconds = 60.0
    drain_delay_s: Pause = 0.0
    drain_limit_s: Pause = 20.0


class RedisSettings(_Section):
    """Where policies, leases and counters are kept; without a URL, in an embedded Valkey."""

    url: SecretStr | None = None
    namespace: Annotated[str, text(_NAMESPACE.fullmatch, "up to 64 letters, digits, hyphens and underscores")] = (
        "sluice"
    )
    lease_s: Annotated[float, number(0.1, 3_600)] = 3.0
    poll_s: Annotated[float, number(0.01, 3_600), Field(validate_default=True)] = 1.0

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


def _is_http(value: str) -> bool:
    return urlsplit(value).scheme in {"http", "https"} and bool(urlsplit(value).hostname)


class RaySettings(_Section):
    """Which Ray cluster this runs on; without an address, one of its own on this machine."""

    address: Annotated[str, text(str.strip, "the address of a cluster, such as 10.0.0.1:6379, or null")] | None = None
    num_cpus: Annotated[float | None, number(0.1, 100_000, null="all of this machine's")] = None


class TritonSettings(_Section):
    """How the Triton servers of the pools are started."""

    binary: AnyPath | None = None
    host: LoopbackHost = "127.0.0.1"
    port_range: Ports = PortRange(21_000, 21_999)
    ready_timeout_s: Seconds = 120.0


class RegistrySettings(_Section):
    """Where artifacts are kept, and where they may come from."""

    artifacts: Annotated[str, text(str.strip, "a folder or an address that fsspec knows, or null")] | None = None
    sources: tuple[Annotated[str, text(str.strip, "folders, or addresses that fsspec knows")], ...] = (".",)
    allow_pickle: Annotated[bool, Field(strict=True)] = False
    mlflow_uri: Annotated[str, text(_is_http, "http://host:port or https://…, or null")] | None = None


class _Place(_Section):
    """Where a version is: in a folder, or served by somebody else."""

    version: VersionNumber
    path: AnyPath | None = None
    endpoints: Annotated[tuple[AnyAddress, ...], Field(validate_default=True)] = ()

    @field_validator("endpoints")
    @classmethod
    def _one_source(cls, value: tuple[Address, ...], info: ValidationInfo) -> tuple[Address, ...]:
        if "path" in info.data and (info.data["path"] is None) == (not value):
            raise ValueError("a version has exactly one of path (we run it) and endpoints (somebody else does)")
        return value


class VersionSettings(PoolOptions, _Place):
    """One version of a model: a pool that we start from a folder, or endpoints that somebody else runs."""

    # The order of the bases is that of checking, the last one first: the options look at what the place was.

    @field_validator(*PoolOptions.model_fields)
    @classmethod
    def _ours_to_start(cls, value: object, info: ValidationInfo) -> object:
        """Runs for keys that were given only, since pydantic does not validate defaults."""
        if info.data.get("endpoints"):
            raise ValueError("it says how to start a pool, and endpoints are started by somebody else: leave it out")
        return value

    @property
    def options(self) -> PoolOptions:
        """How its pool is run."""
        return PoolOptions.model_validate(self.model_dump(include=set(PoolOptions.model_fields), exclude_unset=True))


class ModelSettings(_Section):
    """A model, its versions, and how its traffic is split before anybody has said otherwise."""

    name: Annotated[
        str, text(MODEL_NAME.fullmatch, "letters, digits, _, - and dots, beginning with a letter, a digit or _")
    ]
    versions: Annotated[tuple[VersionSettings, ...], Field(min_length=1)]
    stable: int | None = None
    traffic: tuple[tuple[int, int], ...] = ()
    """(version, parts per million), as the file's mapping gave them; empty where it gave none."""
    unit_header: str = "sluice-unit"

    @field_validator("versions")
    @classmethod
    def _distinct(cls, value: tuple[VersionSettings, ...]) -> tuple[VersionSettings, ...]:
        numbers = [one.version for one in value]
        twice = sorted({number for number in numbers if numbers.count(number) > 1})
        if twice:
            raise ValueError(f"version {twice[0]} is there twice: each version is listed once")
        return value

    @field_validator("stable", mode="before")
    @classmethod
    def _listed(cls, value: object, info: ValidationInfo) -> object:
        if value is None:
            return value
        number = int(value) if isinstance(value, str) and NUMERAL.fullmatch(value) else value
        if "versions" in info.data:
            known = sorted(one.version for one in info.data["versions"])
            if isinstance(number, bool) or number not in known:
                raise ValueError(f"it takes one of the versions listed: {', '.join(map(str, known))}")
        return number

    @field_validator("traffic", mode="before")
    @classmethod
    def _shares(cls, value: object, info: ValidationInfo) -> tuple[tuple[int, int], ...]:
        if not isinstance(value, Mapping):
            raise ValueError("it takes a share for each version, such as {1: 90%, 2: 10%}")  # noqa: TRY004 - see below
        # pydantic turns a ValueError into a mistake with its place, and lets a TypeError through.
        shares = tuple((_version_of(key), parse_share(str(share))) for key, share in value.items())
        _check_traffic(shares, {one.version for one in info.data.get("versions", ())})
        return shares

    @field_validator("unit_header")
    @classmethod
    def _header_name(cls, value: str) -> str:
        return Policy(stable=1, unit_header=value).unit_header

    @property
    def shares(self) -> Mapping[int, int]:
        """Parts per million of the first policy, by version; all for the stable one where no traffic is given."""
        return MappingProxyType(dict(self.traffic) or {self.stable_version: WHOLE})

    @property
    def stable_version(self) -> int:
        """The version named stable, else the one with the largest share, the lowest of equals."""
        if self.stable is not None:
            return self.stable
        shares = dict(self.traffic) or {one.version: 0 for one in self.versions}
        return min(shares, key=lambda version: (-shares[version], version))


def _version_of(key: object) -> int:
    number = int(key) if isinstance(key, str) and NUMERAL.fullmatch(key) else key
    if not isinstance(number, int) or isinstance(number, bool):
        raise ValueError(f"it takes the numbers of versions as keys, and {key!r} is none")  # noqa: TRY004 - as above
    return number


def _check_traffic(shares: tuple[tuple[int, int], ...], known: set[int]) -> None:
    """Each version once, none that is not listed (where that is known), and all of the traffic given away."""
    versions = [version for version, _ in shares]
    stray = sorted({version for version in versions if known and version not in known})
    if stray:
        raise ValueError(f"version {stray[0]} is not among the versions of the model")
    if len(set(versions)) < len(versions):
        raise ValueError("it takes each version once")
    total = sum(share for _, share in shares)
    if total != WHOLE:
        raise ValueError(f"the shares must sum to 100 %, and these sum to {format_share(total)}")


class Settings(_Section):
    """Everything that one installation can be told. Build it with `load_settings`."""

    state_dir: AnyPath = Path(".sluice")
    listen: ListenSettings = ListenSettings()
    control: ControlSettings = ControlSettings()
    gateway: GatewaySettings = GatewaySettings()
    redis: RedisSettings = RedisSettings()
    ray: RaySettings = RaySettings()
    triton: TritonSettings = TritonSettings()
    registry: RegistrySettings = RegistrySettings()
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
    def _ports_differ(self) -> Self:
        ports = {"listen.http_port": self.listen.http_port, "control.port": self.control.port}
        clashes = _clashes(ports, self.triton.port_range)
        if clashes:
            raise _ClashError("\n".join(clashes))
        return self


class _ClashError(ValueError):
    """Listeners that would meet on a port: a mistake of two keys, so its lines bring their own."""


def _clashes(ports: Mapping[str, int], pool: PortRange) -> list[str]:
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


def load_settings(path: Path | None = None, overrides: Mapping[str, object] = MappingProxyType({})) -> Settings:
    """The settings, from the file, the environment and the command line, each winning over the one before.

    Args:
        path: the file; None is the one that `SLUICE_CONFIG` names, else `sluice.yaml` if there is one, else none.
        overrides: by dotted key, such as {'listen.http_port': 0}; values of None count as not given.

    Returns:
        Settings whose paths are absolute: relative ones begin at the file's folder, without a file at this one.

    Raises:
        SettingsError: with every mistake that there is.
    """
    file = _file(path)
    given = merged(read(file) if file else {}, _environment())
    given = merged(given, nested(overrides))
    stray = _stray_variables()
    try:
        settings = Settings.model_validate(given)
    except ValidationError as error:
        lines = [*_lines(error, given), *stray]
        # The cause is left out: it holds the values, and a password may be one of them.
        raise _refused(file, lines) from None
    if stray:
        raise _refused(file, stray)
    return _rooted(settings, (file.parent if file else Path()).absolute())


def _refused(file: Path | None, mistakes: list[str]) -> SettingsError:
    count = f"{len(mistakes)} mistake{'s' if len(mistakes) > 1 else ''}"
    sentence = f"{file or 'the settings'} cannot be used, {count}:"
    return SettingsError(sentence, "docs/sluice.example.yaml shows every key with its default", mistakes)


def _lines(error: ValidationError, given: Mapping[str, Any]) -> list[str]:
    [first, *_] = error.errors(include_url=False)
    clash = first.get("ctx", {}).get("error")
    if isinstance(clash, _ClashError):
        return str(clash).splitlines()
    # Pydantic compares the ports only once all sections are right; the person at the keyboard wants all at once.
    return [*mistakes_of(error, Settings, PREFIX), *_clashes(*_ports_in(given))]


def _ports_in(given: Mapping[str, Any]) -> tuple[dict[str, int], PortRange]:
    """The ports that a document with other mistakes in it means, as far as they can be read, else 0."""
    listen = _value_in(ListenSettings, given.get("listen"), "http_port")
    control = _value_in(ControlSettings, given.get("control"), "port")
    pool = _value_in(TritonSettings, given.get("triton"), "port_range")
    return {"listen.http_port": listen or 0, "control.port": control or 0}, pool or PortRange(0, 0)


def _value_in(section: type[_Section], content: object, key: str) -> Any:  # noqa: ANN401 - whatever the key's type is
    """The value of one key of a section whose other keys may be wrong; None if it is wrong itself."""
    given = {key: content[key]} if isinstance(content, Mapping) and key in content else {}
    try:
        return getattr(section.model_validate(given), key)
    except ValidationError:
        return None


def _file(path: Path | None) -> Path | None:
    named = path or (Path(os.environ["SLUICE_CONFIG"]) if os.environ.get("SLUICE_CONFIG") else None)
    if named and not named.is_file():
        raise SettingsError(f"there is no settings file {named}", "name another with --config or SLUICE_CONFIG")
    return named or (DEFAULT_FILE if DEFAULT_FILE.is_file() else None)


class _EnvironmentSettings(Settings, BaseSettings):
    """The same keys, as pydantic-settings looks for them in the environment. Never built, only looked through."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__", env_ignore_empty=True)


class _EnvironmentSource(EnvSettingsSource):
    """Lists in variables are written as in the file, and one that cannot be read is a mistake among the others."""

    def decode_complex_value(self, field_name: str, field: Any, value: Any) -> Any:  # noqa: ANN401, ARG002 - the library's
        try:
            return parse(value)
        except yaml.YAMLError:
            return value


def _environment() -> dict[str, Any]:
    return _EnvironmentSource(_EnvironmentSettings)()


def _stray_variables() -> list[str]:
    """A line for each variable with our prefix that no setting reads: it is a typing error, and would go unnoticed."""
    sections = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    known = [*sorted(sections), *OTHER_VARIABLES]
    names = (name for name in sorted(os.environ) if name.upper().startswith(PREFIX))
    return [
        no_such(name, known, "variable")
        for name in names
        if name not in OTHER_VARIABLES and name.upper().split("__")[0] not in sections
    ]


def _rooted(settings: Settings, folder: Path) -> Settings:
    """The same settings with absolute paths; the folder itself joins nothing to a path that is absolute already."""
    binary = settings.triton.binary
    triton = settings.triton.model_copy(update={"binary": folder / binary if binary else None})
    models = tuple(_model_in(folder, model) for model in settings.models)
    state_dir = folder / settings.state_dir
    artifacts, sources = settings.registry.artifacts or str(state_dir / "artifacts"), settings.registry.sources
    registry = settings.registry.model_copy(
        update={
            "artifacts": _address_in(folder, artifacts),
            "sources": tuple(_address_in(folder, source) for source in sources),
        }
    )
    return settings.model_copy(
        update={"state_dir": state_dir, "triton": triton, "registry": registry, "models": models}
    )


def _address_in(folder: Path, address: str) -> str:
    """A path begins at the folder; an address with a protocol stays what it is."""
    return address if _PROTOCOL.match(address) else str(folder / Path(address).expanduser())


def _model_in(folder: Path, model: ModelSettings) -> ModelSettings:
    versions = tuple(one.model_copy(update={"path": folder / one.path}) if one.path else one for one in model.versions)
    return model.model_copy(update={"versions": versions})
