"""Writes what follows from the formats and lists of names of core/recursivemas/system, for `make generate`.

It writes JSON Schema of the files (schemas/*.schema.json), the lists of names (schemas/names.json), and the tables of
the documentation between `<!-- generated: NAME -->` and `<!-- end -->`. web/tools/generate.mjs goes on from there. With
`--check` it writes nothing and fails if a file is stale.
"""

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import TypeAdapter, create_model
from pydantic.json_schema import GenerateJsonSchema

from recursivemas.system import names
from recursivemas.system.catalog import SystemsIndex
from recursivemas.system.links_file import LinkFile
from recursivemas.system.manifest import AgentRecord, Manifest, TaskRecord
from recursivemas.system.questions import QuestionRecord
from recursivemas.system.saved_run import SavedRun
from recursivemas.system.settings import Decoding

ROOT = Path(__file__).parents[1]
Schema = dict[str, Any]

FORMATS: dict[str, Any] = {
    "system": Manifest,
    "recursivelink": LinkFile,
    "systems-index": SystemsIndex,
    "questions": tuple[QuestionRecord, ...],
    "saved-run": SavedRun,
}
TABLES = {name: table for name, table in vars(names).items() if name.isupper() and isinstance(table, tuple)}
LIMITS = {name: limit for name, limit in vars(names).items() if name.isupper() and isinstance(limit, int)}
TYPES = {name: get_args(each) for name, each in vars(names).items() if name[0].isupper() and get_args(each)}


class _Schema(GenerateJsonSchema):
    """JSON Schema without a title for every field that repeats the field's name."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """No field gets a title that nobody wrote."""
        return False


def json_schema(of: Any) -> Schema:
    """The JSON Schema of a model, with every shared list of names as a definition of its own."""
    schema = _tidy(TypeAdapter(of).json_schema(schema_generator=_Schema))
    used = {name: {"enum": list(values), "type": "string"} for name, values in TYPES.items() if _mentions(schema, name)}
    if used:
        schema["$defs"] = dict(sorted({**schema.get("$defs", {}), **used}.items()))
    return schema


def _tidy(value: Any) -> Any:
    """Descriptions in one line, lists of names by reference, and no `mapping` beside a discriminator."""
    if isinstance(value, list):
        return [_tidy(each) for each in value]
    if not isinstance(value, dict):
        return value
    value = {key: _tidy(each) for key, each in value.items() if key != "mapping"}
    if isinstance(value.get("description"), str):
        value["description"] = " ".join(value["description"].split())
    for name, values in TYPES.items():
        if value.get("enum") == list(values):
            rest = {key: each for key, each in value.items() if key not in ("enum", "type")}
            value = {"$ref": f"#/$defs/{name}", **rest}
    return value


def _mentions(value: Any, name: str) -> bool:
    if isinstance(value, dict):
        return value.get("$ref") == f"#/$defs/{name}" or any(_mentions(each, name) for each in value.values())
    return isinstance(value, list) and any(_mentions(each, name) for each in value)


def decoding_settings() -> Iterator[Schema]:
    """The table of decoding settings, from the model's own schema."""
    for key, field in json_schema(Decoding)["properties"].items():
        kinds = field.get("anyOf", [field])
        kind = next(each for each in kinds if each["type"] != "null")
        kind_name = "text" if kind["type"] == "string" else kind["type"]
        known = {"key": key, "type": kind_name, "title": field["title"], "description": field["description"]}
        known["default"] = field["default"]
        if kind["type"] in ("integer", "number"):
            bounds = {"least": kind.get("minimum"), "above": kind.get("exclusiveMinimum"), "most": kind.get("maximum")}
            control = {"min": bounds["least"], "max": bounds["most"], **field.get("control", {})}
            known |= {"nullable": len(kinds) > 1, **{k: v for k, v in bounds.items() if v is not None}, **control}
        yield known


def name_lists() -> Schema:
    """Everything of names.py, and the decoding settings."""
    for name, table in TABLES.items():
        kind = type(table[0]).__name__.removesuffix("Info")
        if [info.name for info in table] != list(TYPES[kind]):
            raise SystemExit(f"names.py: {name} must describe every {kind}, in order: {', '.join(TYPES[kind])}")
    return {
        "limits": LIMITS,
        "types": {name: list(values) for name, values in TYPES.items()},
        "tables": {name: [info.model_dump(mode="json") for info in table] for name, table in TABLES.items()},
        "decoding": list(decoding_settings()),
    }


def table_schema() -> Schema:
    """The JSON Schema of a row of each table."""
    fields: dict[str, Any] = {name: (type(table[0]), ...) for name, table in TABLES.items()}
    return json_schema(create_model("Names", **fields))


def _markdown(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    lines = [list(header)]
    lines += [["---"] * len(lines[0]), *([str(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _type_words(field: Schema, definitions: Schema) -> str:
    """A field's type and range in a few words."""
    if "anyOf" in field:
        return " or ".join(_type_words(each, definitions) for each in field["anyOf"])
    if "$ref" in field:
        name = field["$ref"].rsplit("/", 1)[1]
        return ", ".join(f"`{each}`" for each in TYPES[name]) if name in TYPES else name
    if "const" in field:
        return f"`{json.dumps(field['const'])}`"
    if field.get("type") == "array":
        return f"list of {_type_words(field['items'], definitions)}"
    words = {"string": "text", "object": "object", "boolean": "true or false"}.get(field["type"], field["type"])
    bounds = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤"}
    limits = [f"{sign} {field[key]:g}" for key, sign in bounds.items() if key in field]
    return " ".join([words, ", ".join(limits)]).strip()


def _fields_of(model: Any) -> str:
    """A table of a model's keys."""
    schema = json_schema(model)
    rows = []
    for key, field in schema["properties"].items():
        default = f"; `{json.dumps(field['default'])}` by default" if "default" in field else ""
        title = f"{field['title']}. " if "title" in field else ""
        rows.append((f"`{key}`", _type_words(field, schema["$defs"]) + default, title + field["description"]))
    return _markdown(["key", "type", "meaning"], rows)


def _names_of(table: Iterable[names.NameInfo]) -> str:
    """A table of names with their descriptions."""
    return _markdown(["name", "meaning"], ((f"`{info.name}`", info.description) for info in table))


def _link_tensors() -> str:
    letters = {
        "inner": {"source": "D", "target": "D", "width": "R"},
        "outer": {"source": "S", "target": "D_target", "width": "R"},
    }
    rows = []
    for kind, sizes in letters.items():
        for form in names.LINK_VARIANTS:
            tensors = []
            for tensor in getattr(form, kind):
                shape = [sizes[size] for size in tensor.shape]
                tensors.append(f"{tensor.name} ({', '.join(shape)}{',' if len(shape) == 1 else ''})")
            rows.append((f"{kind} `{form.name}`", ", ".join(tensors)))
    return _markdown(["link", "tensors in call order"], rows)


DOCUMENTED: dict[str, Callable[[], str]] = {
    "system.json": lambda: _fields_of(Manifest),
    "agent": lambda: _fields_of(AgentRecord),
    "task": lambda: _fields_of(TaskRecord),
    "decoding": lambda: _fields_of(Decoding),
    "recursivelink.json": lambda: _fields_of(LinkFile),
    "link tensors": _link_tensors,
    "saved run": lambda: _fields_of(SavedRun),
    "modes": lambda: _names_of(names.MODES),
    "patterns": lambda: _names_of(names.PATTERNS),
    "quantizations": lambda: _names_of(names.QUANTIZATIONS),
    "scorings": lambda: _names_of(names.SCORINGS),
    "tools": lambda: _names_of(names.TOOLS),
}


def outputs() -> Iterator[tuple[Path, str]]:
    """Every file that this program writes, with its content."""
    schemas = {name: json_schema(of) for name, of in FORMATS.items()} | {"names": table_schema()}
    for name, schema in schemas.items():
        text = json.dumps({"$schema": GenerateJsonSchema.schema_dialect, **schema}, indent=2, ensure_ascii=False)
        yield ROOT / f"schemas/{name}.schema.json", text + "\n"
    yield ROOT / "schemas/names.json", json.dumps(name_lists(), indent=2, ensure_ascii=False) + "\n"
    for path in sorted((ROOT / "docs").glob("*.md")):
        text = path.read_text(encoding="utf-8")
        parts = re.compile(r"(<!-- generated: (.+?) -->\n).*?(\n<!-- end -->)", re.DOTALL)
        yield path, parts.sub(lambda match: f"{match[1]}\n{DOCUMENTED[match[2]]()}\n{match[3]}", text)


def main() -> None:
    """Writes the files, or checks them."""
    stale = [(path, text) for path, text in outputs() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    for path, text in stale:
        if "--check" in sys.argv:
            raise SystemExit(f"{path.relative_to(ROOT)} is stale; run 'make generate'")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
