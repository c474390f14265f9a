"""A GGUF file with a LoRA adapter, compiled: what the agent's folder and the system's manifest say of its origin."""

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

import recursivemas as rm
from harness.gguf_files import write_gguf
from harness.tiny_models import Case, make_model
from recursivemas.compiler.agent_folder import CHAT_CONFIG, CompileOptions, compile_agent
from recursivemas.system.hub import CheckpointRef
from recursivemas.system.lora import CONFIG, WEIGHTS, read_adapter
from recursivemas.system.system import System, load_system
from recursivemas.training.links import Links
from tests.system.test_gguf import shape
from tests.system.test_lora import KINDS, trained

ROOT = Path(__file__).parents[2]
SCHEME = "q4f32_1"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `tiny.gguf`, its `adapter`, and `agents/talker`, which is both compiled."""
    folder = tmp_path_factory.mktemp("made")
    case = Case("llama", "LlamaForCausalLM", shape(tie_word_embeddings=True, num_hidden_layers=1), 1)
    trained(case, folder, **KINDS["plain"])
    gguf = write_gguf(make_model(case), folder / "tiny.gguf")
    model = CheckpointRef(str(gguf), adapter=str(folder / "adapter")).resolve()
    compile_agent(model, folder / "agents/talker", CompileOptions(SCHEME, backend="relax"))
    return folder


def digest_over(*paths: Path) -> str:
    """Sha256 over the sha256 of each file."""
    return hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in paths)).hexdigest()


def origin(made: Path) -> dict[str, Any]:
    adapter = made / "adapter"
    return {
        "model": "tiny",
        "revision": None,
        "weights_sha256": digest_over(made / "tiny.gguf"),
        "adapter": {"adapter": "adapter", "revision": None, "sha256": digest_over(adapter / CONFIG, adapter / WEIGHTS)},
    }


def test_agent_folder_names_the_gguf_file_and_the_adapter(made: Path) -> None:
    ours = json.loads((made / "agents/talker" / CHAT_CONFIG).read_text(encoding="utf-8"))["recursivemas"]
    assert {name: ours[name] for name in origin(made)} == origin(made)


def test_manifest_and_bill_of_materials_name_the_gguf_file_and_the_adapter(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "agents/talker", tmp_path / "agents/talker")
    shutil.copytree(made / "agents/talker", tmp_path / "agents/thinker")
    agent = {"model": str(made / "tiny.gguf"), "adapter": str(made / "adapter")}
    declared = {
        "version": 1,
        "name": "two",
        "pattern": "distillation",
        "rounds": 1,
        "latent_steps": 1,
        "quantization": SCHEME,
        "agents": [
            {**agent, "id": "thinker", "role": "planner", "prompt": "{question} {latent:talker->thinker}"},
            {**agent, "id": "talker", "role": "solver", "prompt": "{question} {latent:thinker->talker}"},
        ],
        "decoding": {"max_new_tokens": 1},
    }
    (tmp_path / "two.yaml").write_text(yaml.safe_dump(declared), encoding="utf-8")
    system = System.parse(declared, "two.yaml")
    edges = {edge.id: (edge.source, edge.target) for edge in system.edges}
    links = Links.create(dict.fromkeys(("thinker", "talker"), 64), edges, "ln_res", 8, 8)
    links.to_file("two", {}).save(tmp_path / "links.json")
    rm.build(tmp_path / "two.yaml", tmp_path / "links.json", tmp_path / "out", agents=tmp_path / "agents")
    manifest = json.loads((tmp_path / "out/system.json").read_text(encoding="utf-8"))
    for agent_id in ("thinker", "talker"):
        named = manifest["provenance"]["checkpoints"][agent_id]
        assert {name: named[name] for name in origin(made)} == origin(made)
    materials = json.loads((tmp_path / "out/sbom.cdx.json").read_text(encoding="utf-8"))["components"]
    hashes = {digest["content"] for each in materials for digest in each.get("hashes", [])}
    assert {origin(made)["weights_sha256"], origin(made)["adapter"]["sha256"]} <= hashes


SHIPPED = ROOT / "systems/adapters/townsfolk"
ROLES = ("reader", "request", "answer")


def test_origin_of_the_shipped_adapter_says_what_its_files_say() -> None:
    provenance = json.loads((SHIPPED / "provenance.json").read_text(encoding="utf-8"))
    config = json.loads((SHIPPED / CONFIG).read_text(encoding="utf-8"))
    agent = load_system(ROOT / "systems/townsfolk.yaml").agents[0]
    assert provenance["base"] == {"model": config["base_model_name_or_path"], "sha256": agent.sha256}
    assert provenance["base"]["model"] == agent.model
    assert (provenance["rank"], provenance["alpha"]) == (config["r"], config["lora_alpha"])
    assert provenance["versions"]["peft"] == config["peft_version"]
    head = re.sub(r" \\\n# +", " ", (ROOT / "systems/townsfolk.yaml").read_text(encoding="utf-8"))
    assert all(f"#   {provenance[key]}\n" in head for key in ("data_command", "command"))
    steps, batch = provenance["steps"], provenance["batch_size"]
    assert f"--steps {steps} --batch {batch}" in provenance["command"]
    log = (ROOT / "docs/training-log.md").read_text(encoding="utf-8")
    reader, request, answer = (f"{provenance['held_out_wholly_right'][kind]:.2f}".lstrip("0") for kind in ROLES)
    seconds = provenance["seconds_with_loading"]
    said = f"({steps} steps of {batch} texts, {seconds} seconds with loading): hand-offs of the reader {reader}, "
    assert f"{said}requests {request}, answers\n  {answer}." in log


def test_notes_beside_an_adapter_change_nothing_of_it(tmp_path: Path) -> None:
    for name in (CONFIG, WEIGHTS):
        shutil.copyfile(SHIPPED / name, tmp_path / name)
    assert read_adapter(SHIPPED).sha256 == read_adapter(tmp_path).sha256
