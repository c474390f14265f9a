"""The browser engine against the PyTorch reference, on the default system, in headless Chromium."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from harness.engine_page import (
    EngineError,
    EnginePage,
    assert_same_turns,
    matrix,
    open_page,
    relative_error,
    serving,
)
from recursivemas.system.manifest import load_manifest
from recursivemas.system.questions import load_questions
from recursivemas.training.recursion import Recursion

pytestmark = pytest.mark.browser

SYSTEM = "systems/hop-sequential/system.json"


@pytest.fixture(scope="module")
def questions(reference: Recursion) -> list[str]:
    assert reference.system.task is not None and reference.system.task.data is not None
    every = load_questions(reference.system.task.data)
    return [each.question for each in every[:: len(every) // 50]]


def test_engine_tells_what_it_loaded(engine: EnginePage, default_system: Path) -> None:
    progress = engine.loaded["progress"]
    assert [each["fraction"] for each in progress] == sorted(each["fraction"] for each in progress)
    assert {each["phase"] for each in progress} == {"manifest", "download", "compile", "upload", "ready"}
    assert progress[-1]["fraction"] == 1
    assert progress[-1]["loadedBytes"] == progress[-1]["totalBytes"] > 0
    assert len(engine.loaded["questions"]) > 50
    assert engine.loaded["device"]["architecture"] == "swiftshader"


def test_engine_hands_over_what_pytorch_hands_over(
    browser: Browser, harness: Path, shipped_system: Path, reference: Recursion, questions: list[str]
) -> None:
    trace = {"handoffs": True, "thoughts": True}
    with serving(harness, shipped_system) as url, open_page(browser, url) as engine:
        engine.load(SYSTEM)
        for question in questions[:3]:
            came = engine.run(question, rounds=3, trace=trace)
            expected = reference.run([question], rounds=3)
            assert_same_turns(came, expected.turns, reference)
            assert came["answerTokenIds"] == expected.token_ids[0]
            assert sum(turn["forwardPositions"] for turn in came["turns"]) == expected.forward_positions[0]
        assert engine.complaints == []


def test_engine_answers_fifty_questions_like_pytorch(
    engine: EnginePage, reference: Recursion, questions: list[str]
) -> None:
    assert len(questions) >= 50
    for question in questions:
        came = engine.run(question, rounds=3)
        expected = reference.run([question], rounds=3)
        assert (came["answerTokenIds"], came["answer"]) == (expected.token_ids[0], expected.texts[0]), question


@pytest.mark.parametrize("mode", ["text", "single", "loop"])
def test_engine_runs_the_baselines_like_pytorch(
    engine: EnginePage, reference: Recursion, questions: list[str], mode: Any
) -> None:
    for question in questions[10:13]:
        came = engine.run(question, rounds=2, mode=mode)
        expected = reference.run([question], rounds=2, mode=mode)
        assert (came["answerTokenIds"], came["answer"]) == (expected.token_ids[0], expected.texts[0])
        assert came["decodedTokens"] == expected.decoded_tokens[0]
        assert sum(turn["forwardPositions"] for turn in came["turns"]) == expected.forward_positions[0]


def test_engine_latent_step_never_waits_and_reads_nothing_back(engine: EnginePage, questions: list[str]) -> None:
    result = engine.run(questions[0], rounds=3, latentSteps=4)
    steps = [event for event in result["events"] if event["kind"] == "step"]
    assert len(steps) == 9 * 4
    assert {(event["counters"]["syncs"], event["counters"]["readbackBytes"]) for event in steps} == {(0, 0)}
    assert all(event["counters"]["dispatches"] > 10 for event in steps if event["step"] > 0)
    *latent, deciding = result["turns"]
    assert {(turn["counters"]["syncs"], turn["counters"]["readbackBytes"]) for turn in latent} == {(1, 0)}
    tokens = [event for event in result["events"] if event["kind"] == "token"]
    assert {(event["counters"]["syncs"], event["counters"]["readbackBytes"]) for event in tokens} == {(1, 4)}
    picked = len(tokens) + (result["stopReason"] == "stop-token")
    assert deciding["counters"]["readbackBytes"] == 4 * picked
    assert result["counters"]["readbackBytes"] == 4 * picked
    trace = {"handoffs": True, "thoughts": True, "lensTopK": 3}
    *traced, _ = engine.run(questions[0], rounds=1, latentSteps=4, trace=trace)["turns"]
    assert {(turn["counters"]["syncs"], turn["counters"]["readbackBytes"]) for turn in traced} == {(1, 0)}


def test_engine_with_links_in_javascript_agrees_but_waits_at_every_step(
    engine: EnginePage, questions: list[str]
) -> None:
    options: dict[str, Any] = {"rounds": 2, "latentSteps": 3, "trace": {"handoffs": True}}
    compiled = engine.run(questions[0], **options)
    scripted = engine.run(questions[0], handoff="javascript", **options)
    assert compiled["answerTokenIds"] == scripted["answerTokenIds"]
    for ours, theirs in zip(compiled["handoffs"], scripted["handoffs"], strict=True):
        assert ours["edge"] == theirs["edge"]
        assert relative_error(matrix(ours["states"]), matrix(theirs["states"])) < 1e-4
    waits = [event["counters"]["syncs"] for event in scripted["events"] if event["kind"] == "step" and event["step"]]
    assert set(waits) == {1}
    assert scripted["counters"]["readbackBytes"] > compiled["counters"]["readbackBytes"]


def test_engine_samples_the_same_for_the_same_seed(engine: EnginePage, questions: list[str]) -> None:
    def sample(seed: int, **decoding: Any) -> list[int]:
        settings = {"temperature": 8.0, "maxNewTokens": 12, "seed": seed, **decoding}
        ids: list[int] = engine.run(questions[0], mode="single", decoding=settings)["answerTokenIds"]
        return ids

    greedy = engine.run(questions[0], mode="single")["answerTokenIds"]
    assert sample(1) == sample(1)
    assert len({tuple(sample(seed)) for seed in range(4)}) > 1
    assert sample(1, temperature=1e-3)[: len(greedy)] == greedy
    assert sample(1, topP=1e-6)[: len(greedy)] == greedy


def test_engine_stops_between_steps_when_cancelled_and_runs_again(engine: EnginePage, questions: list[str]) -> None:
    before = engine.run(questions[0])
    with pytest.raises(EngineError) as failure:
        engine.run(questions[0], cancel={"kind": "step", "count": 3})
    assert failure.value.code == "cancelled"
    after = engine.run(questions[0])
    assert after["answerTokenIds"] == before["answerTokenIds"]
    assert after["counters"]["liveBytes"] == before["counters"]["liveBytes"]


def test_engine_memory_does_not_grow_from_run_to_run(engine: EnginePage, questions: list[str]) -> None:
    longest = max(questions, key=len)
    alive = [engine.run(longest, rounds=1, latentSteps=5)["counters"]["liveBytes"] for _ in range(20)]
    assert alive[1:] == [alive[1]] * 19


def test_engine_takes_other_prompts_and_fewer_edges(engine: EnginePage, questions: list[str]) -> None:
    plain = engine.run(questions[0], rounds=1, trace={"handoffs": True})
    same = engine.run(
        questions[0],
        rounds=1,
        trace={"handoffs": True},
        prompts={"planner": {"firstRoundPrompt": "<bos> plan {question} go"}},
    )
    assert relative_error(matrix(same["handoffs"][0]["states"]), matrix(plain["handoffs"][0]["states"])) < 1e-6
    other = engine.run(questions[0], rounds=1, prompts={"planner": {"firstRoundPrompt": "<bos> {question}"}})
    assert other["turns"][0]["promptTokens"] < plain["turns"][0]["promptTokens"]
    cut = engine.run(questions[0], rounds=1, edges=["planner->critic"])
    starts = {event["agent"]: event["latentRows"] for event in cut["events"] if event["kind"] == "turn-start"}
    assert starts == {"planner": 0, "critic": 2, "solver": 0}


def test_engine_shows_what_a_thought_is_close_to_saying(
    engine: EnginePage, reference: Recursion, questions: list[str]
) -> None:
    steps = 20  # more than the lens reads back at once
    result = engine.run(questions[0], rounds=1, latentSteps=steps, trace={"lensTopK": 3})
    lens = result["turns"][0]["lens"]
    assert [len(row) for row in lens] == [3] * steps
    from recursivemas.training.rollout import logits

    turn = reference.run([questions[0]], rounds=1, latent_steps=steps).turns[0]
    assert turn.thoughts is not None
    agent = reference.agents["planner"]
    probabilities = logits(agent, turn.thoughts[0]).softmax(-1)
    for row, expected in zip(lens, probabilities, strict=True):
        assert row[0]["tokenId"] == int(expected.argmax())
        assert row[0]["probability"] == pytest.approx(float(expected.max()), rel=1e-3)
        assert row[0]["text"] == agent.tokenizer.convert_ids_to_tokens(row[0]["tokenId"])


def test_engine_reads_each_thought_when_asked_and_hands_over_the_same_bits(
    engine: EnginePage, questions: list[str]
) -> None:
    options: dict[str, Any] = {"rounds": 2, "latentSteps": 3, "trace": {"handoffs": True, "lensTopK": 2}}
    plain, read = engine.run(questions[0], **options), engine.run(questions[0], lensEachStep=True, **options)
    for ours, theirs in zip(read["handoffs"], plain["handoffs"], strict=True):
        assert matrix(ours["states"]).tobytes() == matrix(theirs["states"]).tobytes()
    assert read["answerTokenIds"] == plain["answerTokenIds"]
    for name in ("syncs", "readbackBytes"):
        assert read["counters"][name] == plain["counters"][name], "what is read for people is not the run's"
    steps = [event for event in read["events"] if event["kind"] == "step"]
    turns = [row for turn in read["turns"] for row in turn.get("lens", [])]
    assert [[each["tokenId"] for each in step["lens"]] for step in steps] == [
        [each["tokenId"] for each in row] for row in turns
    ]
    assert not any("lens" in event for event in plain["events"] if event["kind"] == "step")


def test_engine_refuses_what_does_not_fit_the_context(engine: EnginePage) -> None:
    with pytest.raises(EngineError) as failure:
        engine.run("a>b " * 3000)
    assert failure.value.code == "context-overflow"
    assert "context window has" in failure.value.message


def test_engine_works_from_a_sub_path_and_from_its_cache(browser: Browser, harness: Path, default_system: Path) -> None:
    with serving(harness, default_system, "/some/where") as url, open_page(browser, url) as page:
        first = page.load(SYSTEM, cache=True)["progress"][-1]
        counters = page.dispose()
        assert counters["liveBytes"] == 0 < counters["peakBytes"]
        again = page.load(SYSTEM, cache=True)["progress"][-1]
        page.dispose()
        # The cache goes by content, so a file that equals another of the same system may come out of it at once.
        files = load_manifest(default_system / "system.json").files
        distinct = {each.sha256: each.size_bytes for each in files}
        assert first["cachedBytes"] <= sum(each.size_bytes for each in files) - sum(distinct.values())
        assert again["cachedBytes"] == again["totalBytes"]
        assert page.complaints == []
