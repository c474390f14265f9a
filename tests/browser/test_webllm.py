"""Agent folders in stock WebLLM: loaded by URL, chatting in a stream, choosing tokens as it is told to."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from playwright.sync_api import Browser, Page
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from harness.chromium import new_context
from harness.engine_page import WEB, relative_error, serving
from harness.random_checkpoint import CHATML
from recursivemas.system.manifest import load_manifest

pytestmark = pytest.mark.browser

STOP = 258  # <|im_end|>
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where is the ferry?"}]

PAGE = """<!doctype html><meta charset="utf-8"><title>WebLLM</title><script type="module" src="page.js"></script>"""

# Everything WebLLM does is its own; the page only notes what it computed on the way.
SCRIPT = """
import * as webllm from "./webllm.js";
const complaints = [];
const requestDevice = GPUAdapter.prototype.requestDevice;
GPUAdapter.prototype.requestDevice = async function (...rest) {
  const device = await requestDevice.apply(this, rest);
  device.addEventListener("uncapturederror", (event) => complaints.push(event.error.message));
  return device;
};
let engine, seen;
const watcher = {
  processLogits(logits) { seen.logits.push(Array.from(logits)); return logits; },
  processSampledToken(token) { seen.tokens.push(token); },
  resetState() {},
};
window.load = async (model, library) => {
  const record = { model_id: "agent", model, model_lib: library };
  await engine?.unload();
  seen = { logits: [], tokens: [] };
  engine = await webllm.CreateMLCEngine("agent", {
    appConfig: { model_list: [record], cacheBackend: "cache" },
    logitProcessorRegistry: new Map([["agent", watcher]]),
    logLevel: "WARN",
  });
};
window.ask = async (kind, request) => {
  seen = { logits: [], tokens: [] };
  await engine.resetChat();
  const api = kind === "chat" ? engine.chat.completions : engine.completions;
  const deltas = [];
  let finish, usage;
  for await (const chunk of await api.create({ stream: true, stream_options: { include_usage: true }, ...request })) {
    const choice = chunk.choices[0];
    const text = kind === "chat" ? choice?.delta.content : choice?.text;
    if (text) deltas.push(text);
    finish = choice?.finish_reason ?? finish;
    usage = chunk.usage ?? usage;
  }
  const text = kind === "chat" ? await engine.getMessage() : deltas.join("");
  return { ...seen, deltas, text, finish, usage, complaints: complaints.splice(0) };
};
window.ready = true;
"""


@dataclass(frozen=True)
class Completion:
    """What WebLLM did.

    Attributes:
        logits: (N, V), before biases and penalties.
        tokens: The N tokens it sampled, the stop token included.
        deltas: Pieces of text in the order they came.
        text: The whole message.
        finish: `stop` or `length`.
        prompt_tokens: Length of the prompt.
    """

    logits: NDArray[np.float64]
    tokens: list[int]
    deltas: list[str]
    text: str
    finish: str
    prompt_tokens: int


def _ask(page: Page, kind: str, **request: Any) -> Completion:
    made = page.evaluate("([kind, request]) => ask(kind, request)", [kind, request])
    assert made["complaints"] == []
    return Completion(
        np.array(made["logits"]),
        made["tokens"],
        made["deltas"],
        made["text"],
        made["finish"],
        made["usage"]["prompt_tokens"],
    )


def _load(page: Page, url: str, system: Path, number: int) -> None:
    record = load_manifest(system / "system.json").agents[number]
    base = f"{url}systems/{system.name}"
    page.evaluate("([model, library]) => load(model, library)", [f"{base}/{record.path}", f"{base}/{record.model_lib}"])


def _expected(folder: Path, prompt: list[int], tokens: list[int]) -> NDArray[np.float64]:
    """PyTorch's logits where WebLLM chose each token."""
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *tokens]])).logits[0]
    array: NDArray[np.float64] = logits[len(prompt) - 1 : -1].double().numpy()
    return array


@pytest.fixture(scope="module")
def url(chatty_system: Path, shipped_system: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A page with WebLLM from npm and both systems, as `rmas serve` serves them."""
    page = tmp_path_factory.mktemp("webllm")
    (page / "index.html").write_text(PAGE, encoding="utf-8")
    (page / "page.js").write_text(SCRIPT, encoding="utf-8")
    shutil.copyfile(WEB / "node_modules/@mlc-ai/web-llm/lib/index.js", page / "webllm.js")
    systems = tmp_path_factory.mktemp("systems")
    for system in (chatty_system, shipped_system):
        (systems / system.name).symlink_to(system)
    with serving(page, systems) as address:
        yield address


@pytest.fixture(scope="module")
def opened(browser: Browser, url: str) -> Iterator[Page]:
    page = new_context(browser).new_page()
    page.goto(url)
    page.wait_for_function("window.ready")
    yield page
    page.context.close()


@pytest.fixture(scope="module")
def chatty(opened: Page, url: str, chatty_system: Path) -> Page:
    _load(opened, url, chatty_system, 0)
    return opened


def test_webllm_streams_a_chat_whose_logits_are_pytorchs(chatty: Page, chatty_checkpoint: Path) -> None:
    made = _ask(chatty, "chat", messages=MESSAGES, max_tokens=12, temperature=0)
    text = jinja2.Template(CHATML).render(messages=MESSAGES, add_generation_prompt=True)
    prompt = Tokenizer.from_file(str(chatty_checkpoint / "tokenizer.json")).encode(text, add_special_tokens=False).ids
    assert made.prompt_tokens == len(prompt)
    assert len(made.tokens) == 12 and made.finish == "length"
    assert relative_error(made.logits, _expected(chatty_checkpoint, prompt, made.tokens)) < 1e-4
    assert made.tokens == made.logits.argmax(axis=1).tolist()
    # Random bytes are seldom whole characters; WebLLM holds back an unfinished one at the end.
    streamed = "".join(made.deltas)
    assert len(made.deltas) > 1 and made.text.rstrip("\ufffd") == streamed.rstrip("\ufffd")


def test_webllm_stops_at_the_checkpoints_stop_token(chatty: Page) -> None:
    made = _ask(chatty, "chat", messages=MESSAGES, max_tokens=12, temperature=0, logit_bias={str(STOP): 100})
    assert (made.tokens, made.finish, made.text) == ([STOP], "stop", "")


def test_webllm_applies_penalties(chatty: Page) -> None:
    presence, frequency, repetition = 0.4, 0.3, 1.5
    penalties = {"presence_penalty": presence, "frequency_penalty": frequency, "repetition_penalty": repetition}
    made = _ask(chatty, "chat", messages=MESSAGES, max_tokens=24, temperature=0, **penalties)
    counts = np.zeros(made.logits.shape[1])
    for token, logits in zip(made.tokens, made.logits, strict=True):
        lowered = logits - (presence * (counts > 0) + frequency * counts)
        scaled = np.where(lowered < 0, lowered * repetition, lowered / repetition)
        assert token == int(np.where(counts > 0, scaled, logits).argmax())
        counts[token] += 1
    assert made.tokens != made.logits.argmax(axis=1).tolist()


def test_webllm_samples_within_top_p_and_repeats_a_seed(chatty: Page) -> None:
    settings = {"messages": MESSAGES, "max_tokens": 24, "temperature": 0.05, "top_p": 0.6}
    first, again, other = (_ask(chatty, "chat", seed=seed, **settings) for seed in (5, 5, 6))
    assert first.tokens == again.tokens
    assert first.tokens != other.tokens
    for token, logits in zip(first.tokens, first.logits, strict=True):
        probs = np.exp((logits - logits.max()) / 0.05)
        probs /= probs.sum()
        larger = probs[probs > probs[token]].sum()
        assert larger < 0.6 + 1e-4


@pytest.mark.parametrize(
    "number", [pytest.param(0, marks=pytest.mark.slow), 1, pytest.param(2, marks=pytest.mark.slow)]
)
def test_webllm_runs_every_agent_of_the_default_system(
    opened: Page, url: str, shipped_system: Path, number: int
) -> None:
    _load(opened, url, shipped_system, number)
    record = load_manifest(shipped_system / "system.json").agents[number]
    prompt = "<bos> " + record.role
    made = _ask(opened, "text", prompt=prompt, max_tokens=6, temperature=0, logit_bias={})
    checkpoint = Path(__file__).parents[2] / "systems/agents" / record.model
    ids = Tokenizer.from_file(str(checkpoint / "tokenizer.json")).encode(prompt, add_special_tokens=False).ids
    assert made.prompt_tokens == len(ids)
    assert relative_error(made.logits, _expected(checkpoint, ids, made.tokens)) < 1e-3
    assert made.tokens == made.logits.argmax(axis=1).tolist()
