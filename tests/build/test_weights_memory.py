"""Peak memory of a conversion, measured in its own process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.random_checkpoint import write_random_checkpoint

QWEN2_5_0_5B = {
    "model_type": "qwen2",
    "architectures": ["Qwen2ForCausalLM"],
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "vocab_size": 151936,
    "max_position_embeddings": 32768,
    "rope_theta": 1000000.0,
    "tie_word_embeddings": True,
    "hidden_act": "silu",
}
WIDE_TABLE = QWEN2_5_0_5B | {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
}

CHILD = """
import json, sys
from pathlib import Path

def peak_mib():
    # Not ru_maxrss, which starts with the size of the parent process.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

from recursivemas.compiler.backends import prepare
from recursivemas.compiler.checkpoint import Checkpoint
from recursivemas.system.quantize import find_scheme
import tvm.relax.frontend.nn  # needed to define models, not to convert

before = peak_mib()
model = prepare(Checkpoint(Path(sys.argv[1])), find_scheme(sys.argv[2]), "relax")
summary = model.write_weights(Path(sys.argv[3]), lambda done, total: None)
print(json.dumps({"parameters": summary.parameters, "mib": peak_mib() - before}))
"""


def convert(checkpoint: Path, scheme: str, out: Path) -> dict[str, float]:
    out.mkdir()
    command = [sys.executable, "-c", CHILD, str(checkpoint), scheme, str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
@pytest.mark.parametrize("scheme", ["q4f16_1", "q0f32"])
def test_conversion_never_holds_a_large_tensor(tmp_path: Path, scheme: str) -> None:
    """The embedding table alone is 78 MB as stored here and 156 MB as float32."""
    write_random_checkpoint(tmp_path / "checkpoint", WIDE_TABLE)
    assert convert(tmp_path / "checkpoint", scheme, tmp_path / "out")["mib"] < 70


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
@pytest.mark.parametrize("scheme", ["q4f16_1", "q0f32"])
def test_conversion_of_half_a_billion_parameters_stays_under_the_limit(tmp_path: Path, scheme: str) -> None:
    write_random_checkpoint(tmp_path / "checkpoint", QWEN2_5_0_5B)
    result = convert(tmp_path / "checkpoint", scheme, tmp_path / "out")
    assert result["parameters"] == 494_032_768
    assert result["mib"] < 1536
