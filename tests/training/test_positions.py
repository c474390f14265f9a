"""Forward positions of the cases that the browser engine runs too (web/test/engine/positions.test.ts)."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from recursivemas.system.system import System
from recursivemas.training import recursion
from recursivemas.training.agents import LoadedAgent
from recursivemas.training.rollout import Interjection, Written, write
from recursivemas.training.tiny.models import AgentSpec, build_model, build_tokenizer
from tests.training.conftest import make_links
from tests.training.test_recursion import count_positions

FIXTURE = json.loads((Path(__file__).parents[1] / "fixtures" / "position_cases.json").read_text(encoding="utf-8"))
SPECIALS = ("<unk>", "<bos>", "<eos>")
STOP = SPECIALS.index("<eos>")
WORDS = ["plan", "solve", "go", "so", "=", "x", "y", "6", "*", "5", "30"]
WORDS += ["<calculator>", "</calculator>", "<result>", "</result>"]
TOKENIZER = build_tokenizer(WORDS, SPECIALS, seed=1)


class Script:
    """A sampler that picks the words of one decoding in order, then the stop token."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = iter(words)
        self.ignored = 0

    def of(self, _checkpoint: object) -> "Script":
        return self

    def __call__(self, _scores: Tensor, _seen: object) -> Tensor:
        if self.ignored:  # what a tool gave is fed instead
            self.ignored -= 1
            return torch.tensor([STOP])
        word = next(self.words, "<eos>")
        return torch.tensor([TOKENIZER.token_to_id(word)])


def scripted(decodes: Iterator[Sequence[str]]) -> Any:
    """`write` with the next script in place of its sampler."""

    def replacement(*args: Any, **options: Any) -> Written:
        script = Script(next(decodes))
        interject = options.get("interject")

        def counted(ids: Sequence[int], calls: int) -> Interjection | None:
            assert interject is not None
            given: Interjection | None = interject(ids, calls)
            script.ignored = 0 if given is None else len(given.ids)
            return given

        if interject is not None:
            options["interject"] = counted
        return write(*args[:4], sampler=script, **options)  # type: ignore[arg-type]

    return replacement


def system_of(case: dict[str, Any]) -> System:
    decoding = {"max_new_tokens": 20, **case.get("decoding", {})}
    agents = [
        {"id": name, "role": name, "model": name, "prompt": prompt, "tools": case.get("tools", [])}
        | case.get("own", {}).get(name, {})
        for name, prompt in FIXTURE["agents"].items()
    ]
    shape = {key: case[key] for key in ("rounds", "latent_steps")}
    data = {"version": 1, "name": "test", "pattern": "sequential", "agents": agents, "decoding": decoding}
    return System.parse(data | shape, "test")


@pytest.mark.parametrize("case", FIXTURE["cases"], ids=lambda case: case["name"])
def test_forward_positions_equal_the_browsers(case: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    system = system_of(case)
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=TOKENIZER, eos_token="<eos>")
    shape = AgentSpec("a", "qwen2", 32, 32, 2, 2, seed=1, learning_rate=0.0, head_dim=16)
    agents = {}
    for agent in system.agents:
        model = build_model(shape, TOKENIZER.get_vocab_size(), 1, STOP).eval()
        agents[agent.id] = LoadedAgent(agent, model, tokenizer, Path(), stop_list=(STOP,))
    monkeypatch.setattr(recursion, "write", scripted(iter(case["decodes"])))
    reference = recursion.Recursion(system, agents, make_links(system, agents))
    answers = []

    def run() -> None:
        answers.append(reference.run([FIXTURE["question"]], mode=case["mode"]))

    fed = count_positions(agents, run)
    kept = case.get("kept_positions", 0)
    assert answers[0].forward_positions == [case["forward_positions"]]
    assert answers[0].kept_positions == [kept]
    assert fed == case["forward_positions"] - kept
    assert answers[0].texts[0] == case.get("answer", answers[0].texts[0])
