"""What a policy has beside shares, as the API takes it: rules, shadows, and where a unit's name is looked for.

The plain form is `router.codec`'s, with its usual values left out where they are meant. What is allowed within the
right shapes the values themselves say (`router.policy`).
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Discriminator, Field, Tag

from router.match import LONGEST_TEXT, MOST_CONDITIONS, MOST_VALUES, How, Match, Place
from router.policy import LARGEST_BUDGET, LONGEST_SALT, WHOLE, Rule, Shadow
from router.unit import DEFAULT_BODY, LARGEST_BODY, FieldSource, JsonSource, UnitSource
from serving.control.api.asked import Body, Share, VersionNumber

_LONGEST_NAME = 64
_LONGEST_PATH = 256

FieldName = Annotated[str, Field(max_length=_LONGEST_NAME, description="of the field, in lower case")]
Budget = Annotated[int | None, Field(strict=True, ge=1, le=LARGEST_BUDGET)]


class ConditionIn(Body):
    """What a field of a request must say."""

    name: FieldName
    values: Annotated[
        list[Annotated[str, Field(max_length=LONGEST_TEXT)]],
        Field(min_length=1, max_length=MOST_VALUES, description="one for `equals` and `regex`"),
    ]
    how: How = How.EQUALS
    place: Annotated[Place, Field(description="`any` is a header or gRPC metadata, whichever there is")] = Place.ANY

    def made(self) -> Match:
        """The value; raises PolicyError."""
        return Match(self.name, tuple(self.values), self.how, self.place)


class RuleIn(Body):
    """A version for every request that fulfils all the conditions."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"version": 2, "when": [{"name": "x-tier", "values": ["gold"]}]}]},
    )

    version: VersionNumber
    when: Annotated[list[ConditionIn], Field(min_length=1, max_length=MOST_CONDITIONS)]

    def made(self) -> Rule:
        """The value; raises PolicyError."""
        return Rule(self.version, tuple(one.made() for one in self.when))


class ShadowIn(Body):
    """A version that gets copies of some requests, and how many of them at most."""

    version: VersionNumber
    sample_ppm: Annotated[Share, Field(description="of how many units, parts per million")] = WHOLE
    salt: Annotated[str, Field(max_length=LONGEST_SALT)] = "shadow"
    when: Annotated[list[ConditionIn], Field(max_length=MOST_CONDITIONS, default_factory=list)]
    max_per_s: Annotated[Budget, Field(description="copies per second of each gateway worker; left out: any")] = None
    max_in_flight: Annotated[Budget, Field(description="copies under way in each gateway worker")] = None

    def made(self) -> Shadow:
        """The value; raises PolicyError."""
        when = tuple(one.made() for one in self.when)
        return Shadow(self.version, self.sample_ppm, self.salt, when, self.max_per_s, self.max_in_flight)


class FieldSourceIn(Body):
    """A header or a key of gRPC metadata that names the unit."""

    name: FieldName
    place: Place = Place.ANY

    def made(self) -> UnitSource:
        """The value; raises PolicyError."""
        return FieldSource(self.name, self.place)


class JsonSourceIn(Body):
    """A place in a JSON body that names the unit. A larger body, or one that is compressed, names none."""

    path: Annotated[str, Field(alias="json", max_length=_LONGEST_PATH, examples=["$.user.id"])]
    max_bytes: Annotated[int, Field(strict=True, ge=1, le=LARGEST_BODY)] = DEFAULT_BODY

    def made(self) -> UnitSource:
        """The value; raises PolicyError."""
        return JsonSource(self.path, self.max_bytes)


def _kind(said: Any) -> str:  # noqa: ANN401 (whatever was sent)
    return "json" if isinstance(said, JsonSourceIn) or (isinstance(said, dict) and "json" in said) else "field"


UnitSourceIn = Annotated[
    Annotated[FieldSourceIn, Tag("field")] | Annotated[JsonSourceIn, Tag("json")], Discriminator(_kind)
]
"""Where a unit's name is looked for: what says `json` is a place in the body, anything else a field."""
