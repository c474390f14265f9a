"""A small folder in the built systems' format, for tests of what is done with one."""

import json
import random
from pathlib import Path

from recursivemas.system.graph import Edge
from recursivemas.system.manifest import AgentRecord, FileRecord, Manifest, PromptRecord
from recursivemas.system.settings import Decoding

AGENTS = ("planner", "critic", "solver")


def make_system(root: Path, *, name: str = "walk", seed: int = 0, shard_bytes: int = 300_000) -> Path:
    """Writes a system with three agents, two shards each; another seed gives the solver other weights."""
    root.mkdir(parents=True)
    for agent in AGENTS:
        folder = root / "agents" / agent
        folder.mkdir(parents=True)
        for shard in range(2):
            rng = random.Random(f"{agent}-{shard}-{seed if agent == 'solver' else 0}")
            (folder / f"params_shard_{shard}.bin").write_bytes(rng.randbytes(shard_bytes))
        (folder / f"{agent}-q4f32_1-webgpu.wasm").write_bytes(b"\0asm" + random.Random(agent).randbytes(2000))
        (folder / "mlc-chat-config.json").write_text(json.dumps({"agent": agent}) + "\n")
    (root / "recursivelink.json").write_text(json.dumps({"seed": seed}) + "\n")
    manifest(root, name).save(root / "system.json")
    return root


def manifest(root: Path, name: str) -> Manifest:
    """The manifest of what lies in a folder."""
    files = sorted(path for path in root.rglob("*") if path.is_file() and path.name != "system.json")
    pairs = [("planner", "critic", False), ("critic", "solver", False), ("solver", "planner", True)]
    return Manifest(
        name=name,
        description="Three agents.",
        pattern="sequential",
        rounds=2,
        latent_steps=3,
        decoding=Decoding(),
        agents=tuple(_agent(agent) for agent in AGENTS),
        edges=tuple(Edge(id=f"{a}->{b}", source=a, target=b, feedback=back) for a, b, back in pairs),
        links="recursivelink.json",
        memory_bytes=3_000_000,
        files=tuple(FileRecord.of(path, root) for path in files),
        provenance={
            "checkpoints": {
                "planner": {"model": "Qwen/Qwen3-0.6B", "revision": "a" * 40, "license": "apache-2.0"},
                "critic": {"model": "owner/critic", "revision": "b" * 40, "license": "llama3.2"},
                "solver": {"model": "solver", "revision": None},
            },
            "links": {"seed": 7, "losses": {"first": 1.5, "last": 0.25}},
            "versions": {"recursivemas": "0.1.0", "apache-tvm": "0.27.0.post1"},
        },
    )


def _agent(agent: str) -> AgentRecord:
    models = {"planner": "Qwen/Qwen3-0.6B", "critic": "owner/critic", "solver": "solver"}
    return AgentRecord(
        id=agent,
        role=agent,
        model=models[agent],
        architecture="qwen3",
        path=f"agents/{agent}/",
        model_lib=f"agents/{agent}/{agent}-q4f32_1-webgpu.wasm",
        quantization="q4f32_1",
        dtype="float32",
        hidden_size=64,
        num_hidden_layers=2,
        vocab_size=256,
        context_window_size=512,
        prefill_chunk_size=128,
        memory_bytes=1_000_000,
        stop_token_ids=(2,),
        prompt=PromptRecord(template="{question}"),
    )
