"""Mistakes in the settings, each as one line: the dotted key, what was given, what is allowed.

Pydantic finds them; this module words them, so that an operator reads 'gateway.workers: 0 is given, but it takes a
whole number from 1 to 256' and never a library's own report. Values that may hold a password are named but not shown.
Which keys there are and what each takes is left to `serving.settings`.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

_LONGEST_SHOWN = 60
_CREDENTIALS = re.compile(r"://[^/\s]*@")
_SECRET_PLACES = frozenset({("redis",), ("redis", "url"), ("access",), ("access", "admin_key")})
_WEBHOOKS = ("drift", "webhooks")
"""What their addresses end with may be a secret as well."""

_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "model_type": "it takes a section of keys",
        "model_attributes_type": "it takes a section of keys",
        "tuple_type": "it takes a list",
        "too_short": "it takes a list of at least one",
        "literal_error": "it takes {expected}",
        "value_error": "{error}",
    }
)


def mistakes_of(error: ValidationError, root: type[BaseModel], prefix: str) -> list[str]:
    """One line for each thing that pydantic found.

    Args:
        error: what validating `root` raised.
        root: the model of the whole settings, for the keys that would have been allowed.
        prefix: what the names of environment variables begin with, to say which of them brought a wrong value.
    """
    found = error.errors(include_url=False)
    # A list whose members are all wrong is also reported as too short: that second line would only confuse.
    told = (details for details in found if not (details["type"] == "too_short" and details["input"]))
    return [_line(details, root, prefix) for details in told]


def known_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every dotted key of the settings, sections included; what is in a list is written 'models[].name'."""
    for name, field in model.model_fields.items():
        key = f"{prefix}{name}"
        yield key
        inner, brackets = _inner(field.annotation)
        if inner is not None:
            yield from known_keys(inner, f"{key}{brackets}.")


def no_such(name: str, known: Sequence[str], kind: str, within: str = "") -> str:
    """'x: there is no such key; did you mean y?', or all that there is where nothing is near."""
    near = get_close_matches(name, known, n=1)
    meant = f"did you mean {within}{near[0]}?" if near else f"there are {', '.join(f'{within}{one}' for one in known)}"
    return f"{within}{name}: there is no such {kind}; {meant}"


def _inner(annotation: object) -> tuple[type[BaseModel] | None, str]:
    """The section that a field holds, and how its place is written: nothing, or brackets for a list of sections.

    A section that may be left out (`… | None`) is written like any other.
    """
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, ""
    within = [kind for kind in get_args(annotation) if isinstance(kind, type) and issubclass(kind, BaseModel)]
    brackets = "[]" if get_origin(annotation) is tuple else ""
    return (within[0], brackets) if within else (None, "")


def _line(details: ErrorDetails, root: type[BaseModel], prefix: str) -> str:
    place = details["loc"]
    key = _dotted(place)
    kind = details["type"]
    if kind in {"extra_forbidden", "invalid_key"}:
        # An unknown key's value is not shown: it may be a password under a misspelt name. A key that is a number is
        # still a key, not a place in a list.
        place = (*place[:-1], str(place[-1]))
        return _unknown(place, root) + _origin(place, prefix, " (given by {})")
    if kind == "missing":
        return f"{key}: is missing, and has no default"
    words: dict[str, Any] = details.get("ctx", {})
    allowed = _WORDS[kind].format(**words) if kind in _WORDS else details["msg"]
    return f"{key}: {_shown(place, details['input'])} is given{_origin(place, prefix, ' by {}')}, but {allowed}"


def _dotted(place: tuple[int | str, ...]) -> str:
    """'models[0].versions[1].path' from ('models', 0, 'versions', 1, 'path')."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")


def _unknown(place: tuple[int | str, ...], root: type[BaseModel]) -> str:
    *parents, leaf = _dotted(place).rsplit(".", 1)
    within = "".join(f"{parent}." for parent in parents)
    general = re.sub(r"\[\d+\]", "[]", within)
    every = list(known_keys(root))
    siblings = [
        key for key in (key.removeprefix(general) for key in every if key.startswith(general)) if "." not in key
    ]
    elsewhere = [key for key in every if key.rsplit(".", 1)[-1] == leaf]
    if elsewhere and not get_close_matches(leaf, siblings):
        return f"{within}{leaf}: there is no such key; did you mean {elsewhere[0]}?"
    return no_such(leaf, siblings, "key", within)


def _origin(place: tuple[int | str, ...], prefix: str, words: str) -> str:
    """Which environment variable brought the value, if one did: the file is the other place to look."""
    name = prefix + "__".join(str(part) for part in place).upper()
    return words.format(name) if name in os.environ else ""


def _shown(place: tuple[int | str, ...], value: object) -> str:
    text = repr(value)
    if place in _SECRET_PLACES or place[:2] == _WEBHOOKS or _CREDENTIALS.search(text):
        return "a value (not shown: it may hold a password)"
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 1]}…"
