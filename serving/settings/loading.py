"""Where settings are read from: a file, the environment and the command line, each winning over the one before."""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from drift.settings import DriftSettings
from serving.document import merged, nested, parse, read
from serving.errors import SettingsError
from serving.kinds import PortRange
from serving.mistakes import mistakes_of, no_such
from serving.settings.doors import AccessSettings, ControlSettings, ListenSettings, MetricsSettings
from serving.settings.installation import Settings, TogetherError, clashes, exposed
from serving.settings.models import ModelSettings
from serving.settings.parts import TritonSettings
from serving.settings.section import Section

PREFIX = "SLUICE_"
DEFAULT_FILE = Path("sluice.yaml")
OTHER_VARIABLES = (
    *("SLUICE_CONFIG", "SLUICE_URL", "SLUICE_KEY", "SLUICE_KEY_FILE", "SLUICE_CA_FILE", "SLUICE_INSECURE"),
    *("SLUICE_TRITON_BINARY", "SLUICE_CACHE_DIR", "SLUICE_RUN"),
)
"""Variables with our prefix that are no setting: the settings file, what the CLI is to know of the control API (where
it is, with which key, behind which certificate), Triton's binary, its cache, the mark of a run (`serving.sweeper`)."""

_PROTOCOL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


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
    together = first.get("ctx", {}).get("error")
    if isinstance(together, TogetherError):
        return str(together).splitlines()
    # Pydantic compares sections only once all are right; the person at the keyboard wants all at once.
    return [*mistakes_of(error, Settings, PREFIX), *_across(given)]


_HOSTS: tuple[tuple[str, type[Section], str], ...] = (
    ("listen", ListenSettings, "host"), ("control", ControlSettings, "host"), ("metrics", MetricsSettings, "host"),
)  # fmt: skip
_PORTS: tuple[tuple[str, type[Section], str], ...] = (
    ("listen", ListenSettings, "http_port"), ("control", ControlSettings, "port"), ("metrics", MetricsSettings, "port"),
)  # fmt: skip


def _across(given: Mapping[str, Any]) -> list[str]:
    """What sections get wrong together in a document with other mistakes in it, as far as they can be read."""
    metrics = _value_in(MetricsSettings, given.get("metrics"), "enabled") is not False
    hosts = _values(given, _HOSTS if metrics else _HOSTS[:-1])
    ports = _values(given, _PORTS if metrics else _PORTS[:-1])
    required = _value_in(AccessSettings, given.get("access"), "required")
    pool = _value_in(TritonSettings, given.get("triton"), "port_range") or PortRange(0, 0)
    return [*exposed(hosts, required=required is not False), *clashes(ports, pool)]


def _values(given: Mapping[str, Any], which: tuple[tuple[str, type[Section], str], ...]) -> dict[str, Any]:
    found = {f"{name}.{key}": _value_in(section, given.get(name), key) for name, section, key in which}
    return {name: value for name, value in found.items() if value is not None}


def _value_in(section: type[Section], content: object, key: str) -> Any:  # noqa: ANN401 - whatever the key's type is
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
    state_dir = folder / settings.state_dir
    artifacts, sources = settings.registry.artifacts or str(state_dir / "artifacts"), settings.registry.sources
    placed = {"artifacts": _address_in(folder, artifacts), "sources": tuple(_address_in(folder, s) for s in sources)}
    return settings.model_copy(
        update={
            "state_dir": state_dir,
            "tls": _files_in(folder, settings.tls, "certificate", "key"),
            "access": _files_in(folder, settings.access, "admin_key_file", "security_log"),
            "redis": _files_in(folder, settings.redis, "ca_file", "cert_file", "key_file"),
            "triton": _files_in(folder, settings.triton, "binary", "ca_file"),
            "registry": settings.registry.model_copy(update=placed),
            "payloads": _files_in(folder, settings.payloads, "folder"),
            "logs": _files_in(folder, settings.logs, "folder"),
            "drift": _drift_in(folder, settings.drift),
            "models": tuple(_model_in(folder, model) for model in settings.models),
        }
    )


_AnySection = TypeVar("_AnySection", bound=Section)
_AnyModel = TypeVar("_AnyModel", bound=BaseModel)


def _files_in(folder: Path, section: _AnySection, *names: str) -> _AnySection:
    """The section, these paths of it beginning at the folder."""
    given = {name: folder / getattr(section, name) for name in names if getattr(section, name) is not None}
    return section.model_copy(update=given)


def _address_in(folder: Path, address: str) -> str:
    """A path begins at the folder; an address with a protocol stays what it is."""
    return address if _PROTOCOL.match(address) else str(folder / Path(address).expanduser())


def _drift_in(folder: Path, drift: DriftSettings) -> DriftSettings:
    def begins_there(file: str) -> str:
        return str(folder / Path(file).expanduser())

    webhooks = tuple(
        one.model_copy(update={"secret_file": begins_there(one.secret_file)}) for one in drift.webhooks
    )  # fmt: skip
    target = drift.rollback_secret_file
    given = {"rollback_secret_file": None if target is None else begins_there(target)}
    sidecar = _texts_in(drift.sidecar, begins_there, "gateway_key_file", "gateway_ca_file")
    encoders = tuple(_texts_in(one, begins_there, "key_file", "ca_file") for one in drift.encoders)
    return drift.model_copy(update={"webhooks": webhooks, "sidecar": sidecar, "encoders": encoders, **given})


def _texts_in(section: _AnyModel, begins_there: Callable[[str], str], *names: str) -> _AnyModel:
    """The section, these files of it where they begin."""
    given = {name: begins_there(file) for name in names if (file := getattr(section, name)) is not None}
    return section.model_copy(update=given)


def _model_in(folder: Path, model: ModelSettings) -> ModelSettings:
    versions = tuple(one.model_copy(update={"path": folder / one.path}) if one.path else one for one in model.versions)
    return model.model_copy(update={"versions": versions})
