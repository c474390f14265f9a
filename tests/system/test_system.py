import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from recursivemas.system.errors import InputError
from recursivemas.system.system import System, load_system


def sequential() -> dict[str, Any]:
    return {
        "version": 1,
        "name": "pair",
        "pattern": "sequential",
        "rounds": 2,
        "latent_steps": 3,
        "agents": [
            {"id": "a", "role": "A", "model": "owner/a", "prompt": "{question} {latent:b->a}"},
            {"id": "b", "role": "B", "model": "owner/b", "prompt": "{question} {latent:a->b}"},
        ],
    }


def parse(**changes: Any) -> System:
    return System.parse({**copy.deepcopy(sequential()), **changes}, "pair.yaml")


def test_system_sequential_has_a_feedback_edge_to_the_first_agent() -> None:
    system = parse()
    assert [(edge.id, edge.feedback) for edge in system.edges] == [("a->b", False), ("b->a", True)]
    assert system.deciding_agent.id == "b"


def agents_of(prompts: dict[str, str]) -> list[dict[str, Any]]:
    return [{"id": name, "role": name, "model": "owner/m", "prompt": prompt} for name, prompt in prompts.items()]


@pytest.mark.parametrize(
    ("pattern", "prompts", "expected"),
    [
        (
            "mixture",
            {
                "x": "{question}{latent:s->x}",
                "y": "{question}{latent:s->y}",
                "s": "{question}{latent:x->s}{latent:y->s}",
            },
            {("x->s", False), ("y->s", False), ("s->x", True), ("s->y", True)},
        ),
        (
            "distillation",
            {"e": "{question}{latent:l->e}", "l": "{question}{latent:e->l}"},
            {("e->l", False), ("l->e", True)},
        ),
        (
            "deliberation",
            {"r": "{question}{latent:t->r}", "t": "{question}{latent:r->t}"},
            {("r->t", False), ("t->r", True)},
        ),
    ],
)
def test_system_patterns_are_graphs(pattern: str, prompts: dict[str, str], expected: set[tuple[str, bool]]) -> None:
    system = parse(pattern=pattern, agents=agents_of(prompts))
    assert {(edge.id, edge.feedback) for edge in system.edges} == expected


def test_system_single_prompt_needs_no_slots_and_0_1_0_reads_systems_without_it() -> None:
    agents = copy.deepcopy(sequential()["agents"])
    agents[1]["single_prompt"] = "alone: {question}"
    deciding = parse(agents=agents).deciding_agent
    assert [deciding.prompt_for(0, alone) for alone in (True, False)] == ["alone: {question}", agents[1]["prompt"]]
    assert deciding.model_dump()["single_prompt"] == "alone: {question}"
    assert not {"single_prompt", "chat_template_options"} & set(parse().deciding_agent.model_dump())
    agents[1]["single_prompt"] = "alone"
    with pytest.raises(InputError, match=r"single_prompt has no {question} slot"):
        parse(agents=agents)


def test_system_round_trips_through_its_own_dump() -> None:
    system = parse()
    assert System.parse(system.model_dump(mode="json", by_alias=True), "dump") == system


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key": ({"latent_step": 3}, r"unknown key 'latent_step'; did you mean 'latent_steps'\?"),
    "unknown nested key": (
        {"decoding": {"temprature": 1}},
        r"unknown key 'decoding.temprature'; did you mean 'temperature'",
    ),
    "no rounds": ({"rounds": 0}, "rounds: .*greater than or equal to 1, got 0"),
    "unknown pattern": ({"pattern": "ring"}, "pattern: .*got 'ring'"),
    "newer version": ({"version": 2}, "version 2 is newer than this program"),
    "cycle without an order": (
        {"pattern": "graph", "edges": [{"from": "a", "to": "b"}, {"from": "b", "to": "a"}]},
        "'b->a' closes a cycle without an order",
    ),
    "feedback that runs forward": (
        {"pattern": "graph", "edges": [{"from": "a", "to": "b", "feedback": True}]},
        "marked as feedback but 'b' runs after 'a'",
    ),
    "edge to nobody": ({"pattern": "graph", "edges": [{"from": "a", "to": "c"}]}, "unknown agent 'c'; agents are a, b"),
    "slot without an edge": (
        {"agents": agents_of({"a": "{question}{latent:b->a}{latent:c->a}", "b": "{question}{latent:a->b}"})},
        r"slot \{latent:c->a\} without an edge",
    ),
    "edge without a slot": (
        {"agents": agents_of({"a": "{question}{latent:b->a}", "b": "{question}"})},
        r"must have the slot \{latent:a->b\} exactly once, it has it 0 times",
    ),
    "prompt without a question": (
        {"agents": agents_of({"a": "{latent:b->a}", "b": "{question}{latent:a->b}"})},
        r"has no \{question\} slot",
    ),
    "repeated agent": ({"agents": [*sequential()["agents"], sequential()["agents"][0]]}, "'a' appears twice"),
    "own quantization as a fallback": (
        {"quantization": "q4f16_1", "fallbacks": ["q4f32_1", "q4f16_1"]},
        "fallbacks name 'q4f16_1' again",
    ),
    "mixture of two": ({"pattern": "mixture"}, "needs two or more experts"),
    "edges beside a pattern": ({"edges": [{"from": "a", "to": "b"}]}, "edges do not match pattern 'sequential'"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_system_broken_yaml_is_one_clear_line(case: str, tmp_path: Path) -> None:
    changes, message = BROKEN[case]
    path = tmp_path / "pair.yaml"
    path.write_text(yaml.safe_dump({**sequential(), **changes}), encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        load_system(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [("name: [", "not valid YAML"), ("- a", "expected a mapping of keys, got list"), ("", "NoneType")],
)
def test_system_file_that_is_no_system_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        load_system(path)


def test_system_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such system file"):
        load_system(tmp_path / "none.yaml")


def test_load_system_resolves_local_models_and_keeps_hub_ids(tmp_path: Path) -> None:
    (tmp_path / "owner" / "a").mkdir(parents=True)
    path = tmp_path / "pair.yaml"
    path.write_text(yaml.safe_dump(sequential()), encoding="utf-8")
    system = load_system(path)
    assert system.agent("a").model == str(tmp_path / "owner" / "a")
    assert system.agent("b").model == "owner/b"
