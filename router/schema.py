"""Whether a document is what a JSON Schema says, with a sentence for every mistake.

The part of JSON Schema (draft 2020-12) that the schemas of this room use, no more; a schema that uses another keyword
is a mistake of ours and raises. Where a schema has a `description`, the sentence uses it, so one text serves the
reader of the schema and the writer of a wrong document.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

Schema = Mapping[str, Any]


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_KINDS: Final[Mapping[str, Callable[[object], bool]]] = MappingProxyType(
    {
        "object": lambda value: isinstance(value, Mapping) and all(isinstance(key, str) for key in value),
        "array": lambda value: isinstance(value, list),
        "string": lambda value: isinstance(value, str),
        "boolean": lambda value: isinstance(value, bool),
        "integer": _is_whole,
        "number": lambda value: _is_whole(value) or (isinstance(value, float) and math.isfinite(value)),
        "null": lambda value: value is None,
    }
)
_TOLD: Final = frozenset({"title", "description", "default", "$schema", "$id", "$defs"})
_SHOWN: Final = 60


def mistakes(schema: Schema, value: object, *, whole: Schema | None = None, at: str = "") -> Iterator[str]:
    """A sentence for everything in which the value is not what the schema says; `at` is the value's place."""
    whole = schema if whole is None else whole
    if "$ref" in schema:
        name = schema["$ref"].removeprefix("#/$defs/")
        yield from mistakes(whole["$defs"][name], value, whole=whole, at=at)
        return
    kinds = schema.get("type")
    if kinds is not None and not any(_KINDS[kind](value) for kind in ([kinds] if isinstance(kinds, str) else kinds)):
        yield _sentence(schema, value, at)
        return
    for keyword, wanted in schema.items():
        if keyword not in _TOLD and keyword != "type":
            yield from _CHECKS[keyword](schema, wanted, value, whole, at)


def _sentence(schema: Schema, value: object, at: str) -> str:
    shown = repr(value)
    shown = shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "…"
    return f"{at or 'the document'} is {shown}: it is {schema.get('description') or _allowed(schema)}"


def _allowed(schema: Schema) -> str:
    if "const" in schema:
        return repr(schema["const"])
    if "enum" in schema:
        return "one of " + ", ".join(map(repr, schema["enum"]))
    kinds = schema.get("type", "something else")
    words = kinds if isinstance(kinds, str) else " or ".join(kinds)
    if "minimum" in schema and "maximum" in schema:
        words += f" from {schema['minimum']:,} to {schema['maximum']:,}"
    if "exclusiveMinimum" in schema and "exclusiveMaximum" in schema:
        words += f" between {schema['exclusiveMinimum']:,} and {schema['exclusiveMaximum']:,}"
    if "maxLength" in schema or "maxItems" in schema:
        words += f", {_count(schema, 'min')} to {_count(schema, 'max')} long"
    return words


def _count(schema: Schema, which: str) -> int:
    return int(schema.get(f"{which}Length", schema.get(f"{which}Items", 0)))


def _if(wrong: Callable[[Any, Any], bool]) -> Callable[[Schema, Any, Any, Schema, str], Iterator[str]]:
    def check(schema: Schema, wanted: object, value: object, _whole: Schema, at: str) -> Iterator[str]:
        if wrong(wanted, value):
            yield _sentence(schema, value, at)

    return check


def _none(_schema: Schema, _wanted: object, _value: object, _whole: Schema, _at: str) -> Iterator[str]:
    return iter(())


def _required(_schema: Schema, wanted: list[str], value: Mapping[str, Any], _whole: Schema, at: str) -> Iterator[str]:
    for name in wanted:
        if name not in value:
            yield f"{_under(at, name)} is missing"


def _properties(_schema: Schema, wanted: Schema, value: Mapping[str, Any], whole: Schema, at: str) -> Iterator[str]:
    for name, inner in wanted.items():
        if name in value:
            yield from mistakes(inner, value[name], whole=whole, at=_under(at, name))


def _further(
    schema: Schema, wanted: Schema | bool, value: Mapping[str, Any], whole: Schema, at: str  # noqa: FBT001 (JSON Schema's own)
) -> Iterator[str]:  # fmt: skip
    known = schema.get("properties", {})
    for name in sorted(value.keys() - known.keys()):
        if isinstance(wanted, Mapping):
            yield from mistakes(wanted, value[name], whole=whole, at=_under(at, name))
        else:
            yield f"{_under(at, name)} is not understood: there is {', '.join(known)}"


def _names(_schema: Schema, wanted: Schema, value: Mapping[str, Any], whole: Schema, at: str) -> Iterator[str]:
    for name in value:
        yield from mistakes(wanted, name, whole=whole, at=f"the name {name!r:.40} in {at}")


def _items(_schema: Schema, wanted: Schema, value: list[Any], whole: Schema, at: str) -> Iterator[str]:
    for number, item in enumerate(value):
        yield from mistakes(wanted, item, whole=whole, at=f"{at}[{number}]")


def _any_of(schema: Schema, wanted: list[Schema], value: object, whole: Schema, at: str) -> Iterator[str]:
    if all(next(mistakes(inner, value, whole=whole, at=at), None) for inner in wanted):
        yield _sentence(schema, value, at)


def _under(at: str, name: str) -> str:
    return f"{at}.{name:.40}" if at else f"{name:.40}"


def _number(compared: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    """Whether a number is wrong, compared with the schema's; what is no number the type speaks of."""
    return lambda wanted, value: isinstance(value, int | float) and compared(value, wanted)


def _unlike(wanted: str, value: object) -> bool:
    return isinstance(value, str) and re.search(wanted, value) is None


def _differs(wanted: object, value: object) -> bool:
    return type(wanted) is not type(value) or wanted != value


_CHECKS: Final[Mapping[str, Callable[[Schema, Any, Any, Schema, str], Iterator[str]]]] = MappingProxyType(
    {
        "const": _if(_differs),
        "enum": _if(lambda wanted, value: all(_differs(one, value) for one in wanted)),
        "minimum": _if(_number(operator.lt)),
        "maximum": _if(_number(operator.gt)),
        "exclusiveMinimum": _if(_number(operator.le)),
        "exclusiveMaximum": _if(_number(operator.ge)),
        "minLength": _if(lambda wanted, value: isinstance(value, str) and len(value) < wanted),
        "maxLength": _if(lambda wanted, value: isinstance(value, str) and len(value) > wanted),
        "minItems": _if(lambda wanted, value: isinstance(value, list) and len(value) < wanted),
        "maxItems": _if(lambda wanted, value: isinstance(value, list) and len(value) > wanted),
        "pattern": _if(_unlike),
        "required": _required,
        "properties": _properties,
        "additionalProperties": _further,
        "propertyNames": _names,
        "items": _items,
        "anyOf": _any_of,
    }
)
