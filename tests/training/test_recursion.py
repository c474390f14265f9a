"""The recursion against a plain, unbatched reading of docs/recursion.md that shares no code with it but the modules."""

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from recursivemas.system.errors import InputError
from recursivemas.system.questions import QuestionRecord
from recursivemas.system.system import System
from recursivemas.training.agents import LoadedAgent, load_agents
from recursivemas.training.links import Links
from recursivemas.training.recursion import Recursion
from tests.training.conftest import QUESTIONS, MakeSystem, make_links


def plain_hidden(agent: LoadedAgent, embeds: Tensor) -> Tensor:
    out: Tensor = agent.model(inputs_embeds=embeds[None], output_hidden_states=True, use_cache=False)
    return out.hidden_states[-1][0, -1]  # type: ignore[attr-defined, no-any-return]


def plain_prompt(agent: LoadedAgent, question: str, slots: dict[str, Tensor]) -> Tensor:
    parts = []
    for piece in re.split(r"(\{latent:[^}]*\})", agent.agent.prompt):
        if piece.startswith("{latent:"):
            if piece[8:-1] in slots:
                parts.append(slots[piece[8:-1]])
        elif piece:
            ids = agent.tokenizer(piece.replace("{question}", question), add_special_tokens=False)["input_ids"]
            parts.append(agent.model.get_input_embeddings()(torch.tensor(ids, dtype=torch.long)))
    return torch.cat(parts)


def plain_answer(agent: LoadedAgent, embeds: Tensor, prefix: str, limit: int) -> list[int]:
    table = agent.model.get_input_embeddings()
    ids = agent.tokenizer(prefix, add_special_tokens=False)["input_ids"]
    embeds = torch.cat([embeds, table(torch.tensor(ids, dtype=torch.long))])
    written: list[int] = []
    for _ in range(limit):
        token = int(agent.model.get_output_embeddings()(plain_hidden(agent, embeds)).argmax())
        if token in agent.stop_tokens:
            break
        written.append(token)
        embeds = torch.cat([embeds, table(torch.tensor([token]))])
    return written


@torch.no_grad()
def plain_latent(
    system: System, agents: dict[str, LoadedAgent], links: Links, question: str, rounds: int, steps: int
) -> tuple[list[int], dict[tuple[int, str], Tensor]]:
    slots: dict[str, Tensor] = {}
    seen: dict[tuple[int, str], Tensor] = {}
    last = system.agents[-1].id
    for number in range(1, rounds + 1):
        for declared in system.agents:
            agent, inner = agents[declared.id], links.inner[declared.id]
            embeds = plain_prompt(agent, question, slots)
            final = declared.id == last and number == rounds
            thoughts = []
            for _ in range(steps if not final or system.decoding.think_before_answer else 0):
                thoughts.append(plain_hidden(agent, embeds))
                embeds = torch.cat([embeds, inner(thoughts[-1])[None]])
            if final:
                return plain_answer(agent, embeds, system.decoding.answer_prefix, 3), seen
            for edge in system.outgoing(declared.id):
                slots[edge.id] = links.outer[edge.id](inner(torch.stack(thoughts)))
                seen[(number, edge.id)] = slots[edge.id]
    raise AssertionError


@pytest.mark.parametrize("pattern", ["sequential", "mixture", "distillation", "deliberation"])
@pytest.mark.parametrize("think", [True, False])
@pytest.mark.parametrize("variant", ["ln_res", "paper"])
def test_run_latent_equals_the_plain_reading(make_system: MakeSystem, pattern: str, think: bool, variant: str) -> None:
    system = make_system(pattern, think)
    agents = load_agents(system)
    links = make_links(system, agents, variant)
    answers = Recursion(system, agents, links).run(QUESTIONS, rounds=3, latent_steps=2)
    handed = {(turn.round + 1, edge): value for turn in answers.turns for edge, value in turn.hand_offs.items()}
    for index, question in enumerate(QUESTIONS):
        ids, seen = plain_latent(system, agents, links, question, rounds=3, steps=2)
        assert answers.token_ids[index] == ids
        assert seen.keys() == handed.keys()
        for key, value in seen.items():
            assert float((handed[key][index] - value).norm() / value.norm()) < 1e-4


def test_run_single_asks_the_deciding_agent_with_empty_slots(system: System, agents: dict[str, LoadedAgent]) -> None:
    answers = Recursion(system, agents, None).run(QUESTIONS, mode="single")
    solver = agents["solver"]
    for index, question in enumerate(QUESTIONS):
        with torch.no_grad():
            assert answers.token_ids[index] == plain_answer(solver, plain_prompt(solver, question, {}), "=", 3)
        assert answers.decoded_tokens[index] == len(answers.token_ids[index])


def test_run_single_and_loop_read_the_prompt_of_the_agent_alone(system: System, agents: dict[str, LoadedAgent]) -> None:
    *others, last = system.agents
    own = last.model_copy(update={"single_prompt": "<bos> plan {question}"})
    alone = system.model_copy(update={"agents": (*others, own)})
    plain = last.model_copy(update={"prompt": "<bos> plan {question}"})
    expected = system.model_copy(update={"agents": (*others, plain)})
    links = make_links(system, agents)
    for mode in ("single", "loop", "latent", "text"):
        answers = [
            Recursion(each, load_agents(each), links).run(QUESTIONS, mode=mode)  # type: ignore[arg-type]
            for each in (alone, expected if mode in ("single", "loop") else system)
        ]
        assert answers[0].turns[-1].prompt_tokens == answers[1].turns[-1].prompt_tokens
        assert answers[0].token_ids == answers[1].token_ids


def test_run_loop_thinks_for_all_agents_and_rounds(system: System, agents: dict[str, LoadedAgent]) -> None:
    links = make_links(system, agents)
    answers = Recursion(system, agents, links).run(QUESTIONS[:1], rounds=2, latent_steps=2, mode="loop")
    solver, inner = agents["solver"], links.inner["solver"]
    with torch.no_grad():
        embeds = plain_prompt(solver, QUESTIONS[0], {})
        for _ in range(2 * 2 * 3):
            embeds = torch.cat([embeds, inner(plain_hidden(solver, embeds))[None]])
        assert answers.token_ids[0] == plain_answer(solver, embeds, "=", 3)


def plain_text(
    system: System, agents: dict[str, LoadedAgent], question: str, rounds: int, budget: int
) -> tuple[list[str], int]:
    """All thoughts in order, then the answer; and the number of tokens written."""
    texts: dict[str, str] = {}
    said = []
    count = 0
    for number in range(1, rounds + 1):
        for declared in system.agents:
            agent = agents[declared.id]
            table = agent.model.get_input_embeddings()
            slots = {}
            for edge, text in texts.items():
                ids = agent.tokenizer(text, add_special_tokens=False)["input_ids"]
                slots[edge] = table(torch.tensor(ids, dtype=torch.long))
            embeds = plain_prompt(agent, question, slots)
            thought = plain_answer(agent, embeds, "", budget)
            said.append(agent.tokenizer.decode(thought, skip_special_tokens=True))
            count += len(thought)
            if declared.id == system.agents[-1].id and number == rounds:
                embeds = torch.cat([embeds, table(torch.tensor(thought, dtype=torch.long))])
                answer = plain_answer(agent, embeds, "=", 3)
                said.append(agent.tokenizer.decode(answer, skip_special_tokens=True))
                count += len(answer)
            for edge_out in system.outgoing(declared.id):
                texts[edge_out.id] = said[-1]
    return said, count


def test_run_text_equals_the_plain_reading_and_counts_every_token(
    system: System, agents: dict[str, LoadedAgent]
) -> None:
    answers = Recursion(system, agents, None).run(QUESTIONS, rounds=2, latent_steps=2, mode="text")
    for index, question in enumerate(QUESTIONS):
        with torch.no_grad():
            said, count = plain_text(system, agents, question, 2, 2)
        assert answers.texts[index] == said[-1]
        assert [turn.texts[index] for turn in answers.turns if turn.texts] == said[:-1]
        assert answers.decoded_tokens[index] == count


def count_positions(agents: dict[str, LoadedAgent], run: Callable[[], object]) -> int:
    fed = 0

    def hook(_module: object, _args: object, kwargs: dict[str, Tensor]) -> None:
        nonlocal fed
        fed += kwargs["inputs_embeds"].shape[1]

    handles = [a.model.base_model.register_forward_pre_hook(hook, with_kwargs=True) for a in agents.values()]
    run()
    for handle in handles:
        handle.remove()
    return fed


@pytest.mark.parametrize("mode", ["latent", "text", "single", "loop"])
@pytest.mark.parametrize("think", [True, False])
def test_forward_positions_are_what_the_models_were_fed(make_system: MakeSystem, mode: str, think: bool) -> None:
    system = make_system("sequential", think)
    agents = load_agents(system)
    recursion = Recursion(system, agents, make_links(system, agents))
    answers = []
    fed = count_positions(agents, lambda: answers.append(recursion.run(QUESTIONS[:1], mode=mode)))  # type: ignore[arg-type]
    (forward,), (kept,) = answers[0].forward_positions, answers[0].kept_positions
    assert forward - kept == fed
    assert (kept > 0) == (mode in ("latent", "text"))


@pytest.mark.parametrize("think", [True, False])
def test_unroll_checkpointing_changes_no_gradient(make_system: MakeSystem, think: bool) -> None:
    from recursivemas.training.train.outer_loop import outer_loss

    system = make_system("sequential", think)
    agents = load_agents(system)
    gradients = []
    for checkpointing in (False, True):
        links = make_links(system, agents)
        loss, _ = outer_loss(
            Recursion(system, agents, links), QUESTIONS, ["a", "b c", "d"], 2, 2, every_round=True,
            checkpointing=checkpointing,
        )  # fmt: skip
        loss.backward()
        gradients.append([parameter.grad for parameter in links.parameters()])
    for plain, checkpointed in zip(*gradients, strict=True):
        assert plain is not None and float(plain.norm()) > 0
        torch.testing.assert_close(checkpointed, plain, rtol=1e-4, atol=1e-7)


def test_answer_loss_reaches_the_first_rounds_links_and_equals_teacher_forcing(
    system: System, agents: dict[str, LoadedAgent]
) -> None:
    from recursivemas.training.train.outer_loop import outer_loss

    links = make_links(system, agents)
    recursion = Recursion(system, agents, links)
    whole, figures = outer_loss(recursion, QUESTIONS, ["a", "b c d", "e f"], 2, 2)
    assert set(figures) == {"loss_round/2"}
    total, tokens = 0.0, 0
    for question, answer in zip(QUESTIONS, ["a", "b c d", "e f"], strict=True):
        alone, _ = outer_loss(recursion, [question], [answer], 2, 2)
        count = len(answer.split()) + 1
        total, tokens = total + alone.item() * count, tokens + count
    assert float(whole) == pytest.approx(total / tokens, rel=1e-5)
    whole.backward()
    for edge in ("planner->critic", "solver->planner"):
        assert float(links.outer[edge].w3.grad.norm()) > 0  # type: ignore[union-attr]


def test_run_latent_without_links_is_refused(system: System, agents: dict[str, LoadedAgent]) -> None:
    with pytest.raises(InputError, match="needs links"):
        Recursion(system, agents, None).run(QUESTIONS)


def changed(system: System, solver: dict[str, object], **decoding: object) -> System:
    """The system with another deciding agent and other decoding."""
    *others, last = system.agents
    agents = [each.model_dump() for each in (*others, last)]
    agents[-1] |= solver
    return System.parse(
        {
            **system.model_dump(by_alias=True),
            "agents": agents,
            "decoding": {**system.decoding.model_dump(), **decoding},
        },
        "test",
    )


def test_run_fills_in_the_fields_of_each_question(make_system: MakeSystem) -> None:
    prompt = "<bos> plan {question} {if facts}{facts} {end}{latent:critic->solver} go"
    system = changed(make_system(), {"prompt": prompt})
    agents = load_agents(system)
    recursion = Recursion(system, agents, make_links(system, agents))
    records = [
        QuestionRecord(question=QUESTIONS[0], answer="", fields={"facts": "d>e e~f"}),
        QuestionRecord(question=QUESTIONS[2], answer=""),
    ]
    answers = recursion.run(records)
    plain = changed(make_system(), {"prompt": prompt.replace("{if facts}{facts} {end}", "d>e e~f ")})
    told = Recursion(plain, agents | {"solver": load_agents(plain)["solver"]}, recursion.links)
    assert answers.token_ids[0] == told.run([QUESTIONS[0]]).token_ids[0]
    untold = make_system()
    without = Recursion(untold, load_agents(untold), recursion.links)
    assert answers.token_ids[1] == without.run([QUESTIONS[2]]).token_ids[0]
    needs = changed(make_system(), {"prompt": "<bos> {question} {facts} {latent:critic->solver}"})
    message = r"agent 'solver': prompt needs the field 'facts', which question 2 \('h>i \? h@1'\) does not have; it has"
    with pytest.raises(InputError, match=message):
        Recursion(needs, agents, recursion.links).run(records)


def test_run_continues_an_incomplete_answer_from_its_text_alone(make_system: MakeSystem) -> None:
    retry = {"needs": "box", "append": " so go", "max_new_tokens": 4}
    system = changed(make_system(), {}, answer_retry=retry)
    agents = load_agents(system)
    links = make_links(system, agents)
    plain = Recursion(make_system(), agents, links).run(QUESTIONS)
    answers = Recursion(system, agents, links).run(QUESTIONS)
    solver = agents["solver"]
    for index, text in enumerate(plain.texts):
        ids = solver.token_ids(f"{text} so go")
        with torch.no_grad():
            more = solver.model.generate(torch.tensor([ids]), max_new_tokens=4, do_sample=False)[0, len(ids) :].tolist()
        more = [token for token in more if token not in solver.stop_tokens]
        assert answers.token_ids[index] == ids + more
        assert answers.texts[index] == f"{text} so go{solver.raw_text(more)}".strip()
        assert answers.decoded_tokens[index] == plain.decoded_tokens[index] + len(more)


def test_agents_may_have_latent_steps_of_their_own(make_system: MakeSystem) -> None:
    system = make_system(think=False)
    planner, critic, solver = system.agents
    first, last = (each.model_copy(update={"latent_steps": steps}) for each, steps in ((planner, 1), (solver, 4)))
    own = system.model_copy(update={"agents": (first, critic, last)})
    loaded = load_agents(own)
    answers = Recursion(own, loaded, make_links(own, loaded)).run(QUESTIONS, latent_steps=2)
    made = [None if turn.thoughts is None else turn.thoughts.shape[1] for turn in answers.turns]
    assert made == [1, 2, 4, 1, 2, None]
    task = own.task.model_copy(update={"latent_steps": 5}) if own.task else None
    assert own.model_copy(update={"task": task}).default_latent_steps == 5


def test_stop_eos_token_is_the_tokenizers_own(make_system: MakeSystem) -> None:
    loaded = load_agents(changed(make_system(), {"stop": "eos_token"}))["solver"]
    assert loaded.stop_list == (loaded.tokenizer.eos_token_id,)
