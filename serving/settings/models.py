"""Models in the settings: their versions, where each is served, and how traffic is split at first."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from router.policy import WHOLE, Policy, format_share, parse_share
from serving.endpoint import MODEL_NAME
from serving.kinds import NUMERAL, Address, AnyAddress, AnyPath, VersionNumber, text
from serving.pools import PoolOptions
from serving.settings.section import Section


class _Place(Section):
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


class ModelSettings(Section):
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
