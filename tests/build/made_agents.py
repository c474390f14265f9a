"""Makes agent folders for `rmas build --agents` without compiling anything."""

import json
from pathlib import Path
from typing import Any

SYSTEM = Path("systems/hop-sequential.yaml")
LINKS = Path("systems/links/hop-sequential.recursivelink.json")
AGENTS = ("planner", "critic", "solver")


def make_agents(root: Path, **ours: Any) -> Path:
    """A folder for each agent of `SYSTEM`; `ours` replaces what `rmas compile` would have recorded."""
    for name in AGENTS:
        raw = json.loads((SYSTEM.parent / "agents" / name / "config.json").read_text())
        folder = root / name
        folder.mkdir(parents=True)
        (folder / f"{name}.wasm").write_bytes(b"\0asm" + name.encode())
        config = {
            "model_type": raw["model_type"],
            "quantization": "q0f32",
            "vocab_size": raw["vocab_size"],
            "context_window_size": 256,
            "prefill_chunk_size": 64,
            "eos_token_id": 2,
            "recursivemas": {
                "version": 1,
                "model": name,
                "revision": None,
                "license": None,
                "weights_sha256": "0" * 64,
                "backend": "relax",
                "model_lib": f"{name}.wasm",
                "dtype": "float32",
                "hidden_size": raw["hidden_size"],
                "num_hidden_layers": raw["num_hidden_layers"],
                "memory_bytes": 1,
                "required_features": [],
                "required_limits": {},
                "versions": {"emscripten": "3.1.6"},
                **ours,
            },
        }
        (folder / "mlc-chat-config.json").write_text(json.dumps(config))
    return root
