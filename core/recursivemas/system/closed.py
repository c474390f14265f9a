"""Closed, typed records: they refuse unknown keys in one line that names the nearest known one."""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    ValidationError,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from recursivemas.system.errors import InputError


def _make_strict(schema: Any) -> None:
    """Forbids conversions, such as of `true` or `"1"` to 1. Lists still become tuples, and texts dates."""
    if isinstance(schema, list | tuple):
        for each in schema:
            _make_strict(each)
    elif isinstance(schema, dict):
        if schema.get("type") in ("int", "float", "bool", "str"):
            schema["strict"] = True
        for key, each in schema.items():
            if key not in ("metadata", "serialization", "default"):
                _make_strict(each)


class Closed(BaseModel):
    """A pydantic model that is frozen and knows every key it accepts.

    The string below a field describes it, here and in everything that `make generate` writes.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The checks, for pydantic: numbers, texts and booleans are what they are and are not converted."""
        schema = handler(source)
        _make_strict(schema)
        return schema

    @classmethod
    def parse(cls, data: object, source: str) -> Self:
        """Validates the content of a file.

        Args:
            data: The parsed YAML or JSON value.
            source: The file's name, for the message.

        Raises:
            InputError: Names up to five problems in one line: where, what was expected and what came.
        """
        if not isinstance(data, Mapping):
            raise InputError(f"{source}: expected a mapping of keys, got {type(data).__name__}")
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            problems = "; ".join(_describe(cls, problem) for problem in error.errors(include_url=False)[:5])
            raise InputError(f"{source}: {problems}") from None


def added(default: Any, **options: Any) -> Any:
    """A field that version 0.1.0 does not know: files leave it out where it has its default."""
    return Field(default=default, exclude_if=lambda value: value == default, **options)


def written_to(places: int) -> PlainSerializer:
    """Makes `Annotated[float, written_to(…)]` a number that files hold with so many decimal places.

    In memory it keeps all of them: whoever prints it rounds it once.
    """
    return PlainSerializer(lambda value: round(value, places), return_type=float)


def _absent_not_null(schema: dict[str, Any]) -> None:
    """In JSON Schema, a field whose default is None may be absent but is never null."""
    for value in schema.get("properties", {}).values():
        if "default" in value and value["default"] is None:
            del value["default"]
            value |= next(kind for kind in value.pop("anyOf") if kind != {"type": "null"})


class Sparse(Closed):
    """A record that leaves out the keys for which it has no value."""

    model_config = ConfigDict(json_schema_extra=_absent_not_null)


@dataclass(frozen=True)
class Matching:
    """Makes `Annotated[str, Matching(…)]` a text of a certain form, which an error names in words.

    Attributes:
        pattern: For the whole text; a regular expression that Python and JavaScript read alike.
        expected: What the text should be, as in 'expected a path below the folder'.
    """

    pattern: str
    expected: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The check, for pydantic."""
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The same check, for JSON Schema; `expected` is ours."""
        return {**handler(schema), "pattern": self.pattern, "expected": self.expected}

    def _check(self, text: str) -> str:
        if not re.search(self.pattern, text):
            raise InputError(f"expected {self.expected}, got {text!r}")
        return text


def _describe(model: type[BaseModel], problem: Mapping[str, Any]) -> str:
    where = ".".join(str(part) for part in problem["loc"]) or "top level"
    if problem["type"] == "extra_forbidden":
        key = str(problem["loc"][-1])
        known = _known_keys(model, problem["loc"][:-1])
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(sorted(known))}"
        return f"unknown key {where!r}; {hint}"
    if problem["type"] == "missing":
        return f"missing key {where!r}"
    if problem["type"] == "value_error":
        return f"{where}: {problem['ctx']['error']}" if problem["loc"] else str(problem["ctx"]["error"])
    came = repr(problem["input"])
    return f"{where}: {problem['msg']}, got {came if len(came) <= 60 else came[:57] + '...'}"


def _known_keys(model: type[BaseModel], path: tuple[Any, ...]) -> list[str]:
    """Returns the keys of the model that a validation path leads to; list indices and mapping keys are skipped."""
    current = model
    for part in path:
        field = next((f for name, f in current.model_fields.items() if part in (name, f.alias)), None)
        if field is not None:
            current = _inner_model(field.annotation) or current
    return [field.alias or name for name, field in current.model_fields.items()]


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        if found := _inner_model(argument):
            return found
    return None
