"""What others wrote is read by strict rules: nothing twice, nothing without bounds, and one line if it is refused."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from recursivemas.system.errors import InputError
from recursivemas.system.files import read_json
from recursivemas.system.generation_config import read_generation_config
from recursivemas.system.links_file import load_links
from recursivemas.system.manifest import FileRecord
from recursivemas.system.questions import load_questions
from recursivemas.system.saved_run import SavedRun
from recursivemas.system.strict import parse_json, parse_yaml
from recursivemas.system.system import System, load_system

REPOSITORY = Path(__file__).parents[2]
LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, after in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{after}: &{after}\n  <<: [{', '.join([f'*{before}'] * 40)}]\n"
    for before, after in zip("abcdefgh", "bcdefghi", strict=True)
)

BAD_YAML = {
    "billion laughs": (LAUGHS, r"more than 200000 values, with anchors expanded"),
    "merged laughs": (MERGES, r"more than 200000 values, with anchors expanded"),
    "an anchor in itself": ("a: &a [*a]", "an anchor refers to itself"),
    "deep": ("[" * 100 + "]" * 100, "more than 64 levels deep"),
    "deeper": ("[" * 100_000, "not valid YAML"),
    "a long integer": ("a: " + "9" * 5000, "not valid YAML: "),
    "a large integer": ("a: " + "9" * 50, "a whole number of more than 128 bits"),
    "an impossible date": ("a: 2026-02-30", "day is out of range"),
    "a key twice": ("a: 1\nb: 2\na: 3", "the key 'a' appears twice, in line 3"),
    "a key twice below": ("a: [{b: 1, b: 2}]", "the key 'b' appears twice"),
    "not a number": ("a: .nan", r"infinite or none \(NaN\)"),
    "infinity": ("a: -.inf", "infinite or none"),
    "half a pair": ('a: "\\ud800"', "half of a surrogate pair"),
    "control characters": ("a: \x00", "special characters are not allowed"),
    "an object": ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
    "a tag that misfits": ("a: !!int [1]", "not valid YAML"),
    "an empty number": ("a: !!int ''", "not valid YAML"),
    "a list as a key": ("? [1]\n: 2", "unhashable"),
}


@pytest.mark.parametrize("kind", BAD_YAML)
def test_yaml_is_refused_in_one_line(kind: str) -> None:
    text, message = BAD_YAML[kind]
    began = time.process_time()
    with pytest.raises(InputError, match=message) as caught:
        parse_yaml(text, "system.yaml")
    assert "\n" not in str(caught.value) and time.process_time() - began < 5


def test_yaml_may_use_anchors_and_merges() -> None:
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: *a"
    assert parse_yaml(text, "x") == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": {"x": 1, "y": 2}}


BAD_JSON = {
    "deep": ("[" * 100 + "]" * 100, "more than 64 levels deep"),
    "deeper": ("[" * 100_000 + "]" * 100_000, "more than 64 levels deep"),
    "a long integer": ("9" * 5000, "not valid JSON"),
    "a large integer": ('{"a": 1' + "0" * 40 + "}", "a whole number of more than 128 bits"),
    "a large number": ("[1e999]", "infinite or none"),
    "a key twice": ('[{"a": 1, "a": 2}]', "the key 'a' appears twice"),
    "not a number": ('{"temperature": NaN}', "NaN is no number of JSON"),
    "infinity": ("-Infinity", "-Infinity is no number of JSON"),
    "half a pair": ('{"\\ud800": 1}', "half of a surrogate pair"),
}


@pytest.mark.parametrize("kind", BAD_JSON)
def test_json_is_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    text, message = BAD_JSON[kind]
    (tmp_path / "file.json").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_json(tmp_path / "file.json", "file")
    assert "\n" not in str(caught.value)


def test_json_with_pairs_of_surrogates_and_tokenizers_limits_is_read() -> None:
    text = '{"a": "\\ud83d\\ude00\\u0000", "model_max_length": 1000000000000000019884624838656}'
    assert parse_json(text, "x") == {"a": "😀\0", "model_max_length": int(1e30)}


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "latin").write_bytes(b'"\xe4"')
    (tmp_path / "large").write_text("[1, 2]")
    reasons = {"pipe": "it is no ordinary file", ".": "it is a folder", "latin": "it is not UTF-8"}
    for name, reason in reasons.items():
        with pytest.raises(InputError, match=f"cannot be read: {reason}"):
            read_json(tmp_path / name, "file")
    with pytest.raises(InputError, match="more than 0 MiB"):
        read_json(tmp_path / "large", "file", most_bytes=3)
    for name in ("a\0b", "a\ud800b"):
        with pytest.raises(InputError, match="cannot be read"):
            read_json(tmp_path / name, "file")


def declared(**changes: Any) -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load((REPOSITORY / "systems/hop-sequential.yaml").read_text())
    return {**data, **changes}


def agents(**changes: Any) -> dict[str, Any]:
    return {"agents": [{**each, **changes} for each in declared()["agents"]]}


WRONG = {
    "agents that are names": ({"agents": ["planner", "critic"]}, "agents.0: "),
    "agents that are a text": ({"agents": "planner"}, "agents: "),
    "agents that are a mapping": ({"agents": {"planner": {}}}, "agents: "),
    "3,000 agents": ({"agents": declared()["agents"] * 1000}, "at most 64"),
    "a billion rounds": ({"rounds": 10**9}, "less than or equal to 64"),
    "true rounds": ({"rounds": True}, "rounds: .*valid integer"),
    "rounds as text": ({"rounds": "3"}, "rounds: .*valid integer"),
    "many latent steps": ({"latent_steps": 10**5}, "less than or equal to 1024"),
    "a text that is a number": ({"description": 7}, "valid string"),
    "edges that are names": ({"edges": ["a"]}, "edges.0: "),
    "edges from a list": ({"pattern": "graph", "edges": [{"from": [], "to": {}}]}, "edges.0"),
    "a name of JavaScript": (agents(id="constructor"), "has a meaning in JavaScript"),
    "an edge of JavaScript": (
        {"pattern": "graph", "edges": [{"id": "__proto__", "from": "planner", "to": "critic"}]},
        "has a meaning in JavaScript",
    ),
    "a path with NUL": (agents(model="a\0b"), "has a NUL"),
    "a long path": (agents(model="a" * 5000), "no path of a file or folder: File name too long"),
    "data with NUL": ({"task": {"name": "t", "data": "a\0b"}}, "has a NUL"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_system_with_a_wrong_value_is_refused(kind: str, tmp_path: Path) -> None:
    changes, message = WRONG[kind]
    path = tmp_path / "system.yaml"
    path.write_text(yaml.safe_dump(declared(**changes)))
    with pytest.raises(InputError, match=message) as caught:
        load_system(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 2000


@pytest.mark.parametrize(
    "path",
    [" //host/x", "//host/x", "/x", "%2e%2e/x", "../x", "a/../../x", "a\\b", "http://x", "x?y", "x#y", "x\n", "x ",
     "\tx", "", "a\0b", "a%2fb"],
)  # fmt: skip
def test_a_manifest_names_no_path_outside(path: str) -> None:
    with pytest.raises(InputError, match="expected a path below the manifest's folder"):
        FileRecord.parse({"path": path, "size_bytes": 1, "sha256": "0" * 64}, "system.json")


@pytest.mark.parametrize("path", ["a", "agents/planner/", "a b/LICENSE (1).txt", "a..b", "ä/..ö", "..."])
def test_a_manifest_names_paths_below(path: str) -> None:
    assert FileRecord.parse({"path": path, "size_bytes": 1, "sha256": "0" * 64}, "system.json").path == path


def test_links_with_an_infinite_epsilon_are_refused(tmp_path: Path) -> None:
    path = REPOSITORY / "systems/links/hop-sequential.recursivelink.json"
    data = json.loads(path.read_text())
    for epsilon in ("Infinity", "NaN", "1e999", "true", '"1e-5"'):
        (tmp_path / "links.json").write_text(
            json.dumps({**data, "layer_norm_eps": 0}).replace('eps": 0', f'eps": {epsilon}')
        )
        with pytest.raises(InputError):
            load_links(tmp_path / "links.json")
    assert load_links(path).layer_norm_eps == 1e-5


def test_generation_config_is_json(tmp_path: Path) -> None:
    for text in (
        '{"temperature": NaN}',
        '{"top_p": 1, "top_p": 2}',
        '{"num_beams": [[]]}',
        '{"stop_strings": {"a": {}}}',
    ):
        (tmp_path / "generation_config.json").write_text(text)
        with pytest.raises(InputError):
            read_generation_config(tmp_path)


def test_questions_say_which_line_is_wrong(tmp_path: Path) -> None:
    good = '{"question": "q", "answer": "a"}'
    for bad in (
        '{"question": "q", "question": "r", "answer": "a"}',
        "9" * 5000,
        "[" * 10**5,
        '{"question": true, "answer": ""}',
    ):
        (tmp_path / "data.jsonl").write_text(f"{good}\n{bad}\n")
        with pytest.raises(InputError, match=r"data\.jsonl:2: "):
            load_questions(tmp_path / "data.jsonl")


@pytest.mark.parametrize("name", ["constructor", "__proto__", "prototype"])
def test_a_column_that_the_page_would_lose_is_refused(name: str, tmp_path: Path) -> None:
    message = f"a column is called '{name}', which has a meaning in JavaScript"
    for row in ({name: "x"}, {"fields": {name: "x"}}):
        (tmp_path / "data.jsonl").write_text(json.dumps({"question": "q", "answer": "a", **row}))
        with pytest.raises(InputError, match=rf"data\.jsonl:1: .*{message}") as caught:
            load_questions(tmp_path / "data.jsonl")
        assert "\n" not in str(caught.value)
    saved = json.loads((REPOSITORY / "tests/fixtures/saved-runs/version-4.json").read_text())
    saved["options"]["fields"] = {name: "x"}
    with pytest.raises(InputError, match=message):
        SavedRun.parse(saved, "run.json")


def test_every_system_that_ships_is_read() -> None:
    for path in sorted((REPOSITORY / "systems").glob("*.yaml")):
        assert isinstance(load_system(path), System)


NESTED = {
    "rows of different lengths": ("[[1, 2], [3]]", "not numbers of one shape"),
    "too deep": ("[[[1]]]", "expected w1 and w2 as lists of rows"),
    "not deep enough": ("[1]", "expected w1 and w2 as lists of rows"),
    "mappings": ("[[{}]]", "expected lists of numbers"),
    "texts": ('[["1"]]', "expected lists of numbers"),
    "booleans": ("[[true]]", "expected lists of numbers"),
    "a large number": ("[[1e300]]", "too large for float32"),
    "a large integer": ("[[" + "9" * 30 + "]]", "expected lists of numbers|too large"),
    "nothing": ("null", "expected w1 and w2 as lists of rows"),
}


@pytest.mark.parametrize("kind", NESTED)
def test_nested_links_of_wrong_nesting_are_refused(kind: str, tmp_path: Path) -> None:
    from recursivemas.training.link_formats import from_nested

    text, message = NESTED[kind]
    path = tmp_path / "links.json"
    path.write_text('{"links": [{"w1": ' + text + ', "w2": [[1]]}]}')
    with pytest.raises(InputError, match=message):
        from_nested(path, "made", ["a"], [])


def test_a_pattern_of_an_adapter_that_never_ends_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from recursivemas.system import lora

    monkeypatch.setattr(lora, "_MATCHING_SECONDS", 0.1)
    name = "model.layers.0.self_attn.q_proj" * 4
    with pytest.raises(InputError, match="takes too long to match"):
        lora._matches(r"(?:\w|\w\w|\W)*[A-Z]", name)
    assert lora._matches(r".*\.(q|k)_proj", "model.layers.0.self_attn.q_proj")
