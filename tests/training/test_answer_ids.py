"""Answers in training are tokenised as the agent would write them."""

from dataclasses import replace

import pytest
import tokenizers
import transformers
from tokenizers import decoders, pre_tokenizers

from recursivemas.training.agents import LoadedAgent
from recursivemas.training.recursion import Recursion
from recursivemas.training.train.outer_loop import answer_ids, text_before_answer
from tests.training.conftest import MakeSystem

WORDS = "Answer: Paris is it. Answer: Paris \\boxed{Paris} Paris Paris London Answer: London "


def tokenizer_of(byte_level: bool) -> transformers.PreTrainedTokenizerFast:
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    part = pre_tokenizers.ByteLevel(add_prefix_space=False) if byte_level else pre_tokenizers.Metaspace()
    tokenizer.pre_tokenizer = part
    tokenizer.decoder = decoders.ByteLevel() if byte_level else decoders.Metaspace()
    alphabet = pre_tokenizers.ByteLevel.alphabet() if byte_level else list(set(WORDS))
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<bos>", "<turn>"], initial_alphabet=alphabet
    )
    tokenizer.train_from_iterator([WORDS] * 20, trainer)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<bos>", additional_special_tokens=["<turn>"]
    )


@pytest.mark.parametrize("byte_level", [True, False])
@pytest.mark.parametrize(
    ("before", "whole"),
    [
        ("Answer:", "Answer: Paris"),
        ("Answer: ", "Answer: Paris"),
        ("\\boxed{", "\\boxed{Paris"),
        ("<turn>", "<turn>Paris"),
        ("", "Paris"),
    ],
)
def test_answer_ids_are_those_of_the_whole_text(
    agents: dict[str, LoadedAgent], byte_level: bool, before: str, whole: str
) -> None:
    agent = replace(agents["planner"], tokenizer=tokenizer_of(byte_level))
    ids = answer_ids(agent, before, "Paris")
    read = agent.token_ids(before) if before else []
    assert "".join(agent.raw_text([*read, *ids]).split()) == "".join(agent.raw_text(agent.token_ids(whole)).split())
    assert len(ids) == 1 or "boxed" in before
    if not before.endswith(" "):  # a space at the end is a token of its own, which the agent would not write
        assert [*read, *ids] == agent.token_ids(whole)


def test_answer_ids_of_tiny_agents_stay_as_they_are(agents: dict[str, LoadedAgent]) -> None:
    for agent in agents.values():
        for before in ("=", "go", " go ", ""):
            assert answer_ids(agent, before, "") == []
            assert answer_ids(agent, before, "a b") == agent.token_ids("a b")


def test_text_before_answer_is_the_prefix_or_the_end_of_the_prompt(
    make_system: MakeSystem, agents: dict[str, LoadedAgent]
) -> None:
    system = make_system()
    assert text_before_answer(Recursion(system, agents, None), 0) == "="
    plain = system.model_copy(update={"decoding": system.decoding.model_copy(update={"answer_prefix": ""})})
    assert text_before_answer(Recursion(plain, agents, None), 0) == " go"
