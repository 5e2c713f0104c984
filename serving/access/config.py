"""What is asked of tokens (OIDC, JWT): a value that travels to every process that lets somebody in.

The settings file's section is `serving.settings`' business; here is what a verifier needs of it, checked once more, for
what would weaken a check must not be representable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Final

from serving.access.roles import Role

ASYMMETRIC: Final = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip
"""The algorithms that may be allowed: whoever can verify by one of these cannot sign."""
MOST_LEEWAY_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class TokenRules:
    """What a token must say, and how its claims are read.

    Attributes:
        issuer: its `iss`, exactly.
        audience: what its `aud` contains.
        algorithms: by which it may be signed, some of `ASYMMETRIC`.
        leeway_s: by how much the issuer's clock may differ from ours, seconds.
        role_claim: the claim that names the role, or a path of claims joined by dots into nested objects.
        roles: from that claim's values to roles' names; the three names stand for themselves.
        default_role: the role's name where the claim names none; None lets nobody in who has none.
        models_claim: the claim that lists the models which a `predict` may ask; likewise a path.
    """

    issuer: str
    audience: str
    algorithms: tuple[str, ...] = ("RS256", "ES256")
    leeway_s: float = 30.0
    role_claim: str = "sluice_role"
    roles: Mapping[str, str] = field(default_factory=dict)
    default_role: str | None = None
    models_claim: str = "sluice_models"

    def __post_init__(self) -> None:
        """Refuses what would check too little.

        Raises:
            ValueError: with a sentence.
        """
        if not self.issuer or not self.audience:
            raise ValueError("tokens are taken from one issuer and for one audience: name both")
        if not self.algorithms or not set(self.algorithms) <= set(ASYMMETRIC):
            raise ValueError(f"tokens are signed by some of {', '.join(ASYMMETRIC)}, not by {list(self.algorithms)}")
        if not 0 <= self.leeway_s <= MOST_LEEWAY_S:
            raise ValueError(f"clocks may differ by 0 to {MOST_LEEWAY_S:g} seconds, not by {self.leeway_s!r}")
        for name in (*self.roles.values(), *(() if self.default_role is None else (self.default_role,))):
            if name not in _ROLES:
                raise ValueError(f"{name!r} is no role: there are {', '.join(_ROLES)}")
        object.__setattr__(self, "algorithms", tuple(self.algorithms))
        object.__setattr__(self, "roles", MappingProxyType(dict(self.roles)))

    def role(self, value: str) -> Role | None:
        """The role that this value of the claim stands for; None for none."""
        return _ROLES.get(self.roles.get(value, value))

    @property
    def default(self) -> Role | None:
        """The role of a token whose claim names none."""
        return None if self.default_role is None else _ROLES[self.default_role]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON, which `from_dict` reads."""
        plain = {one.name: getattr(self, one.name) for one in fields(self)}
        return plain | {"algorithms": list(self.algorithms), "roles": dict(self.roles)}

    @classmethod
    def from_dict(cls, said: Mapping[str, Any]) -> TokenRules:
        """The rules that `as_dict` wrote.

        Raises:
            ValueError: these are none.
        """
        try:
            return cls(**{**said, "algorithms": tuple(said.get("algorithms", ("RS256", "ES256")))})
        except (TypeError, AttributeError) as error:
            raise ValueError(f"these are no rules for tokens: {error}") from error


_ROLES: Final[Mapping[str, Role]] = MappingProxyType({role.value: role for role in Role})
