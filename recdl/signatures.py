"""Does a mapping from a YAML file fit what a class asks for? If not, say which key does not, and why."""

import dataclasses
import difflib
import inspect
import json
import types
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from recdl.errors import ConfigError, RecdlError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_Schema = TypeVar("_Schema", bound=BaseModel)
_WORDS = {float: "a number", int: "a whole number", bool: "true or false", str: "text", type(None): "null"}
_UNKNOWN = {"extra_forbidden", "unexpected_keyword_argument"}
_MISSING = {"missing", "missing_argument"}
_OF_THE_RIGHT_TYPE = {
    "value_error",
    "assertion_error",
    "greater_than",
    "greater_than_equal",
    "less_than",
    "less_than_equal",
    "too_short",
    "too_long",
    "string_too_short",
    "string_pattern_mismatch",
}


def parameters(target: type) -> dict[str, inspect.Parameter]:
    """Return the named parameters of `target`'s constructor, without `self` and without `**kwargs`."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {p.name: p for p in inspect.signature(target).parameters.values() if p.kind in named}


def annotations(target: type) -> dict[str, Any]:
    """Return the type of each parameter of `target`'s constructor, by name."""
    return get_type_hints(inspect.getattr_static(target, "__init__"), include_extras=True)


def typed_arguments(
    target: type, given: Mapping[str, Any], *, required: Collection[str], key: str
) -> dict[str, Any]:
    """Return `given` with each value as the constructor of `target` asks for it (tuples, dataclasses, paths).

    Nothing is guessed: text is no number and a number is no text. Only a whole number is also a number, a list
    also a tuple, and a mapping also the dataclass that has its keys.

    Raises:
        ConfigError: If a value is of another type or a required one is missing; it names the full key.
    """
    types_of = annotations(target)
    names = [*given, *(name for name in required if name not in given)]
    # Aliases, since a parameter may be named like something that every pydantic model has (`json`, `copy`).
    fields: dict[str, Any] = {f"field_{i}": (types_of.get(n, Any), Field(alias=n)) for i, n in enumerate(names)}
    settings = ConfigDict(strict=True, extra="forbid", arbitrary_types_allowed=True)
    schema: type[BaseModel] = create_model(target.__name__, __config__=settings, **fields)
    checked = checked_settings(schema, given, key=key)
    return {name: getattr(checked, field) for field, name in zip(fields, names, strict=True)}


def checked_settings(schema: type[_Schema], given: Mapping[str, Any], *, key: str = "") -> _Schema:
    """Return `given` as `schema`; see `typed_arguments` for what is taken for what.

    Raises:
        ConfigError: If a key is unknown or missing, or its value is of another type; it names each such key.
    """
    try:
        return schema.model_validate_json(json.dumps(given))  # YAML says what JSON says: a list is also a tuple
    except ValidationError as error:
        raise ConfigError(_explain(error, schema, key)) from error
    except RecdlError as error:
        raise ConfigError(naming(key, error)) from error
    except TypeError as error:
        raise ConfigError(f"{key or 'the settings'}: hold what no YAML file can say: {error}") from error


def no_such_setting(key: str, known: Iterable[str]) -> str:
    """Say that the last part of `key` is no setting, and which of the `known` ones may have been meant."""
    parent, _, name = key.rpartition(".")
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    meant = f"; did you mean {f'{parent}.' if parent else ''}{near[0]}?" if near else ";"
    return f"{key}: there is no such setting{meant} The settings here: {', '.join(names) or 'none'}"


def naming(key: str, error: Exception) -> str:
    """Return an error's message with the key it is about, which the message may name already."""
    message = str(error)
    return message if not key or message.startswith((f"{key}.", f"{key}:")) else f"{key}: {message}"


def describe(annotation: Any) -> str:
    """Say in words what values a type takes: "a number or null"."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in _WORDS:
        return _WORDS[annotation]
    if origin is Annotated:
        return describe(arguments[0])
    if origin is Literal:
        return "one of " + ", ".join(str(choice) for choice in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(describe(choice) for choice in arguments)
    if origin in (tuple, list, Sequence):
        return f"a list ({describe(arguments[0])} each)"
    if origin in (dict, Mapping) or dataclasses.is_dataclass(annotation):
        return "a mapping"
    return f"what is a {getattr(annotation, '__name__', annotation)}"


def _explain(error: ValidationError, schema: type[BaseModel], key: str) -> str:
    lines: dict[str, None] = {}  # a set that keeps its order: a union is one line, not one a choice
    for problem in error.errors():
        full, expected, siblings = _locate(problem["loc"], schema, key)
        value = json.dumps(problem["input"], default=str, ensure_ascii=False)
        if problem["type"] in _UNKNOWN:
            line = no_such_setting(full, siblings)
        elif problem["type"] in _MISSING:
            line = f"{full}: is missing; expected {describe(expected)}"
        elif problem["type"] in _OF_THE_RIGHT_TYPE:
            line = f"{full}: {problem['msg']}, got {value}"
        else:
            line = f"{full}: expected {describe(expected)}, got {value}{_as_text(problem)}"
        lines[line] = None
    return "\n".join(lines)


def _as_text(problem: "ErrorDetails") -> str:
    """Say how a number is written as text, where text was expected."""
    number = problem["type"] == "string_type" and isinstance(problem["input"], int | float)
    return f"; in quotes it is text: '{json.dumps(str(problem['input']))}'" if number else ""


def _locate(location: Sequence[int | str], schema: Any, key: str) -> tuple[str, Any, list[str]]:
    """Follow a pydantic location through the types: the full key, the type there, and the names next to it.

    The walk stops at a union of several types, whose branches pydantic adds to the location as if they were keys.
    """
    current, siblings = schema, list[str]()
    for step in location:
        current = _without_null(current)
        fields = _fields(current)
        origin, arguments = get_origin(current), get_args(current)
        if fields is not None:
            siblings = list(fields)
            key = f"{key}.{step}" if key else str(step)
            current = fields.get(str(step), Any)
        elif origin in (tuple, list, Sequence) and isinstance(step, int):
            key, current = f"{key}[{step}]", arguments[min(step, len(arguments) - 1)]
            current = arguments[0] if current is Ellipsis else current
        elif origin in (dict, Mapping):
            key, current = f"{key}.{step}", arguments[1]
        else:
            break
    return key, current, siblings


def _without_null(annotation: Any) -> Any:
    if get_origin(annotation) is Annotated:
        return _without_null(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        choices = [choice for choice in get_args(annotation) if choice is not type(None)]
        return choices[0] if len(choices) == 1 else annotation
    return annotation


def _fields(annotation: Any) -> dict[str, Any] | None:
    if not isinstance(annotation, type):
        return None
    if issubclass(annotation, BaseModel):
        return {field.alias or name: field.annotation for name, field in annotation.model_fields.items()}
    return get_type_hints(annotation, include_extras=True) if dataclasses.is_dataclass(annotation) else None
