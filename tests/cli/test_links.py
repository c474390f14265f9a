"""`rmas links convert` writes only links that every part computes."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from recursivemas.cli.app import app
from recursivemas.compiler.agent_folder import CompileOptions
from recursivemas.release.package import build_system
from recursivemas.system.errors import InputError

ROOT = Path(__file__).parents[2]
FIXTURE = ROOT / "tests/fixtures/formats-1/ln_res.recursivelink.json"
SYSTEM = ROOT / "systems/hop-sequential.yaml"


@pytest.fixture(params=[{"activation": "gelu_tanh"}, {"layer_norm_eps": 1e-6}], ids=["activation", "epsilon"])
def other(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A link file that only PyTorch computes."""
    changed: dict[str, Any] = json.loads(FIXTURE.read_text(encoding="utf-8")) | request.param
    path = tmp_path / "links.json"
    path.write_text(json.dumps(changed), encoding="utf-8")
    return path


def convert(source: Path, out: Path, *options: str) -> Exception | None:
    """What `rmas links convert` ends with."""
    result = CliRunner().invoke(app, ["links", "convert", str(source), "--out", str(out), *options])
    assert result.exception is None or isinstance(result.exception, InputError)
    return result.exception


def test_convert_refuses_what_compiled_libraries_do_not_compute(other: Path, tmp_path: Path) -> None:
    error = convert(other, tmp_path / "out.json")
    assert "compute 'gelu' and 1e-05 only" in str(error)
    assert "\n" not in str(error)
    assert not (tmp_path / "out.json").exists()
    with pytest.raises(InputError, match="compute 'gelu' and 1e-05 only"):
        build_system(SYSTEM, other, tmp_path / "built", CompileOptions("q0f32"))


def test_convert_keeps_links_that_every_part_computes(tmp_path: Path) -> None:
    assert convert(FIXTURE, tmp_path / "out.json") is None
    assert json.loads((tmp_path / "out.json").read_text()) == json.loads(FIXTURE.read_text())
    assert convert(FIXTURE, tmp_path / "half.json", "--dtype", "float16") is None
    inner = json.loads((tmp_path / "half.json").read_text())["inner"]
    assert {tensor["dtype"] for link in inner.values() for tensor in link["tensors"].values()} == {"float16"}
