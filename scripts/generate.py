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
from recursivemas.system.catalog import IndexEntry, SystemsIndex
from recursivemas.system.early_stopping import Calibrated, EarlyStop, EarlyStopping
from recursivemas.system.graph import Edge
from recursivemas.system.links_file import Link, LinkFile, TensorRecord
from recursivemas.system.manifest import AgentRecord, Manifest, PromptRecord, Sampling, SubgroupLibrary, TaskRecord
from recursivemas.system.questions import QuestionRecord
from recursivemas.system.saved_run import SavedOptions, SavedRun
from recursivemas.system.settings import AnswerRetry, Decoding, InnerLoop, OuterLoop, Training
from recursivemas.system.shared_links import Gallery, Measurement, SharedAdapter, SharedAgent, SharedLinks, TrainedOn
from recursivemas.system.system import Agent, ChatTemplateOptions, System, Task
from recursivemas.system.tuning import Tuned

ROOT = Path(__file__).parents[1]
Schema = dict[str, Any]

FORMATS: dict[str, Any] = {
    "system": Manifest,
    "recursivelink": LinkFile,
    "systems-index": SystemsIndex,
    "questions": tuple[QuestionRecord, ...],
    "saved-run": SavedRun,
    "shared-links": SharedLinks,
    "gallery": Gallery,
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
    schema: Schema = _tidy(TypeAdapter(of).json_schema(schema_generator=_Schema))
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
    """The table of decoding settings that have a control, from the model's own schema."""
    for key, field in json_schema(Decoding)["properties"].items():
        if field.get("control", ...) is None:  # the page has no control for it
            continue
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


def _type_words(field: Schema, plural: str = "") -> str:
    """A field's type and range in a few words."""
    if "anyOf" in field:
        return " or ".join(_type_words(each, plural) for each in field["anyOf"])
    values = field.get("enum", [field["const"]] if "const" in field else [])
    if "$ref" in field:
        values = TYPES.get(field["$ref"].rsplit("/", 1)[1], ())
    if values:
        return " or ".join(f"`{json.dumps(value)}`" for value in values)
    if field.get("type") == "array":
        return f"list of {_type_words(field['items'], 's')}"
    if field.get("type") in ("boolean", "null"):
        return "true or false" if field["type"] == "boolean" else "null"
    words = "text" if field.get("type") == "string" else field.get("type", "object")
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤"}
    limits = [f"{sign} {field[key]:g}" for key, sign in signs.items() if key in field]
    return f"{words}{plural} {', '.join(limits)}".strip()


def _fields_of(model: Any) -> str:
    """A table of a model's keys."""
    schema = json_schema(model)
    rows = []
    for key, field in schema["properties"].items():
        kind = _type_words(field)
        default = field.get("default")
        if default not in (None, "", []) and not isinstance(default, dict):
            kind += "" if "const" in field else f"; `{json.dumps(default)}` by default"
        elif key not in schema.get("required", ()):
            kind += "; optional"
        title = f"{field['title']}. " if "title" in field else ""
        rows.append((f"`{key}`", kind, title + field["description"]))
    return _markdown(["key", "type", "meaning"], rows)


def _names_of(table: Iterable[names.NameInfo]) -> str:
    """A table of names with their descriptions."""
    return _markdown(["name", "meaning"], ((f"`{info.name}`", info.description) for info in table))


def _files() -> str:
    return _markdown(["file", "what it is"], ((f"`{info.file}`", info.description) for info in names.FILES))


def _link_tensors() -> str:
    """A table of every form's tensors, with their shapes in the letters of the documentation."""
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
    "system file": lambda: _fields_of(System),
    "agent of a system file": lambda: _fields_of(Agent),
    "chat template of a system file": lambda: _fields_of(ChatTemplateOptions),
    "task of a system file": lambda: _fields_of(Task),
    "evidence of a system file": lambda: _fields_of(Tuned),
    "early stopping": lambda: _fields_of(EarlyStopping),
    "evidence of early stopping": lambda: _fields_of(Calibrated),
    "early stop": lambda: _fields_of(EarlyStop),
    "training": lambda: _fields_of(Training),
    "inner loop": lambda: _fields_of(InnerLoop),
    "outer loop": lambda: _fields_of(OuterLoop),
    "decoding": lambda: _fields_of(Decoding),
    "answer retry": lambda: _fields_of(AnswerRetry),
    "sampling": lambda: _fields_of(Sampling),
    "subgroup library": lambda: _fields_of(SubgroupLibrary),
    "edge": lambda: _fields_of(Edge),
    "manifest": lambda: _fields_of(Manifest),
    "agent": lambda: _fields_of(AgentRecord),
    "prompt": lambda: _fields_of(PromptRecord),
    "task": lambda: _fields_of(TaskRecord),
    "links": lambda: _fields_of(LinkFile),
    "link": lambda: _fields_of(Link),
    "tensor": lambda: _fields_of(TensorRecord),
    "question": lambda: _fields_of(QuestionRecord),
    "index": lambda: _fields_of(IndexEntry),
    "saved run": lambda: _fields_of(SavedRun),
    "saved options": lambda: _fields_of(SavedOptions),
    "shared links": lambda: _fields_of(SharedLinks),
    "shared agent": lambda: _fields_of(SharedAgent),
    "shared adapter": lambda: _fields_of(SharedAdapter),
    "trained on": lambda: _fields_of(TrainedOn),
    "measurement": lambda: _fields_of(Measurement),
    "link tensors": _link_tensors,
    "files": _files,
    **{
        table: lambda table=table: _names_of(TABLES[table])  # type: ignore[misc]
        for table in (
            "MODES",
            "PATTERNS",
            "QUANTIZATIONS",
            "SCORINGS",
            "TOOLS",
            "STOP_REASONS",
            "ACTIVATIONS",
            "HUB_TAGS",
        )
    },
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
        parts = re.compile(r"(<!-- generated: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)
        yield path, parts.sub(lambda match: f"{match[1]}\n{DOCUMENTED[match[2]]()}\n\n{match[3]}", text)


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
