"""Agents with facts of their own, in the engine, on the page and in its chat, against the PyTorch reference."""

import json
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import Browser, expect

from harness.engine_page import (
    WEB,
    EngineError,
    assert_same_turns,
    open_page,
    serving,
)
from harness.playground import open_playground
from harness.random_checkpoint import write_random_checkpoint
from recursivemas.compiler.agent_folder import CompileOptions
from recursivemas.release.package import build_system
from recursivemas.system.names import Mode
from recursivemas.system.questions import QuestionRecord, load_questions
from recursivemas.training.links import Links
from recursivemas.training.recursion import Recursion
from tests.browser.conftest import CHATTY, load_reference

pytestmark = pytest.mark.browser

# As web/src/ui/state/store.ts says.
CHAT_TOKENS = 48
AXE = WEB / "node_modules/axe-core/axe.min.js"
ROWS = [
    {"question": "Who?", "answer": "Rosa", "reader_facts": "Anna knows {Rosa}.", "solver_facts": "It is late."},
    {"question": "Where?", "answer": "Oslo", "reader_facts": "Tom lives in Oslo.", "solver_facts": ""},
]
SYSTEM = {
    "version": 1,
    "name": "facts",
    "description": "A reader and a solver who each know something.",
    "pattern": "graph",
    "rounds": 2,
    "latent_steps": 2,
    "agents": [
        {
            "id": "reader",
            "role": "reader",
            "prompt": "Facts: {reader_facts} {latent:solver->reader} .",
            "latent_steps": 3,
        },
        {
            "id": "solver",
            "role": "solver",
            "prompt": "{if solver_facts}Facts: {solver_facts}{else}No facts.{end} {question} {latent:reader->solver} =",
        },
    ],
    "edges": [{"from": "reader", "to": "solver"}, {"from": "solver", "to": "reader", "feedback": True}],
    "decoding": {
        "max_new_tokens": 5,
        "repetition_penalty": 1.3,
        "answer_retry": {"needs": "box", "append": " so", "max_new_tokens": 3},
    },
    "task": {"name": "facts", "description": "Made up.", "data": "facts.jsonl", "scoring": "contains"},
}


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the system's file, its links and, in `systems`, the built system."""
    folder = tmp_path_factory.mktemp("facts")
    sizes = {"reader": 48, "solver": 32}
    for number, (name, size) in enumerate(sizes.items()):
        config = {**CHATTY, "hidden_size": size, "max_position_embeddings": 160}
        write_random_checkpoint(folder / name, config, dtype="float32", seed=5 + number)
    agents = [{**agent, "model": str(folder / str(agent["id"]))} for agent in SYSTEM["agents"]]  # type: ignore[attr-defined]
    (folder / "facts.yaml").write_text(yaml.safe_dump({**SYSTEM, "agents": agents}), encoding="utf-8")
    (folder / "facts.jsonl").write_text("\n".join(map(json.dumps, ROWS)), encoding="utf-8")
    edges = {"reader->solver": ("reader", "solver"), "solver->reader": ("solver", "reader")}
    Links.create(sizes, edges, "paper", 8, 8).to_file("facts", {}).save(folder / "links.json")
    build_system(folder / "facts.yaml", folder / "links.json", folder / "systems/facts", CompileOptions("q0f32"))
    return folder


@pytest.fixture(scope="module")
def reference(facts: Path) -> Recursion:
    return load_reference(facts / "facts.yaml", facts / "links.json")


@pytest.fixture(scope="module")
def questions(facts: Path) -> list[QuestionRecord]:
    return load_questions(facts / "facts.jsonl")


def test_engine_reads_facts_and_decodes_as_pytorch_does_with_all_agents_or_one_at_a_time(
    browser: Browser, harness: Path, facts: Path, reference: Recursion, questions: list[QuestionRecord]
) -> None:
    with serving(harness, facts / "systems") as url, open_page(browser, url) as engine:
        peaks = {}
        for one_by_one in (False, True):
            loaded = engine.load("systems/facts/system.json", one_by_one=one_by_one)
            assert [each["fields"] for each in loaded["questions"]] == [each.fields for each in questions]
            for mode in ("latent",) if one_by_one else ("latent", "single", "text"):
                for record in questions:
                    trace = {"handoffs": True, "thoughts": True}
                    came = engine.run(record.question, fields=record.fields, mode=mode, trace=trace)
                    expected = reference.run([record], mode=mode)
                    if mode == "latent":
                        assert_same_turns(came, expected.turns, reference)
                    assert (came["answerTokenIds"], came["answer"]) == (expected.token_ids[0], expected.texts[0])
                    assert came["decodedTokens"] == expected.decoded_tokens[0]
                    positions = sum(turn["forwardPositions"] for turn in came["turns"])
                    assert positions == expected.forward_positions[0]
            record = questions[0]
            # The likeliest token alone is left, whatever is drawn.
            drawn = {"temperature": 1.5, "topK": 1, "seed": 3}
            came = engine.run(record.question, fields=record.fields, decoding=drawn)
            assert came["answerTokenIds"] == reference.run([record]).token_ids[0]
            with pytest.raises(EngineError, match="agent 'reader': its prompt needs the field 'reader_facts'"):
                engine.run(record.question)
            peaks[one_by_one] = engine.dispose()["peakBytes"]
        assert peaks[True] < peaks[False]
        assert engine.complaints == []


def chat_reference(reference: Recursion) -> Recursion:
    """The reference with the chat's settings: an answer may have 48 tokens, however short those of the task are."""
    decoding = reference.system.decoding.model_copy(update={"max_new_tokens": CHAT_TOKENS})
    system = reference.system.model_copy(update={"decoding": decoding})
    return Recursion(system, reference.agents, reference.links)


def test_page_shows_facts_beside_agents_and_chats(
    browser: Browser, built: Path, facts: Path, reference: Recursion, questions: list[QuestionRecord], tmp_path: Path
) -> None:
    with serving(built, facts / "systems") as url, open_playground(browser, url) as page:
        page.open()
        page.load()
        page.ask(2)
        reader, solver = (
            page.page.get_by_label(f"{each} facts only this agent reads it") for each in ("reader", "solver")
        )
        expect(reader).to_have_value(ROWS[1]["reader_facts"])
        expect(solver).to_have_value("")
        page.run()
        assert page.answer == reference.run([questions[1]]).texts[0]
        solver.fill("Rain.")
        expect(page.page.get_by_role("heading", name="Your own question")).to_be_visible()
        page.query(r"field\.solver_facts=Rain")
        page.run()
        changed = questions[1].model_copy(update={"fields": {**questions[1].fields, "solver_facts": "Rain."}})
        assert page.answer == reference.run([changed]).texts[0]
        page.shoot("facts-1280-light", tmp_path)

        page.view("Chat")
        expect(page.page.locator(".honesty")).to_contain_text("know this one puzzle")
        expect(reader).to_have_value("")
        page.page.get_by_label("Your question", exact=True).fill("Why?")
        reader.fill("It rains.")
        page.page.get_by_label("Your question", exact=True).press("Enter")
        expect(page.page.locator(".voice.done")).to_have_count(2)
        expect(page.page.locator(".exchange h3")).to_have_text("Why?")
        expect(page.page.locator(".thoughts li")).to_have_count(3)
        expect(page.page.locator(".thoughts code")).to_have_count(3 + 2 + 3)
        free = QuestionRecord(question="Why?", answer="", fields={"reader_facts": "It rains.", "solver_facts": ""})
        expected = chat_reference(reference)
        shown = page.page.locator(".voice-answer").all()
        figures = page.page.locator(".voice-figures").all_inner_texts()
        modes: tuple[Mode, ...] = ("latent", "single")
        for voice, figure, mode in zip(shown, figures, modes, strict=True):
            came = expected.run([free], mode=mode)
            assert voice.text_content() == (came.texts[0].strip() or "no words"), mode
            assert f"{came.decoded_tokens[0]} decoded token" in figure, mode
        page.page.emulate_media(reduced_motion="reduce")
        page.page.evaluate(AXE.read_text(encoding="utf-8"))
        found = page.page.evaluate("() => axe.run(document, { resultTypes: ['violations'] })")
        assert [each["id"] for each in found["violations"]] == []
        for width in (1280, 390):
            page.page.set_viewport_size({"width": width, "height": 844})
            page.settle()
            page.shoot(f"chat-asked-{width}-light", tmp_path)
            assert page.page.evaluate("() => document.documentElement.scrollWidth") <= width
        assert page.complaints == []
