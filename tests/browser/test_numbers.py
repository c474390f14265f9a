"""Weights and links that are no numbers: the run stops, and the message names the first agent at fault."""

import base64
import json
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from playwright.sync_api import Browser
from safetensors.torch import load_file, save_file

from harness.engine_page import EngineError, EnginePage, open_page, serving
from recursivemas.compiler.agent_folder import CompileOptions
from recursivemas.release.package import build_system
from recursivemas.system.errors import InputError
from recursivemas.training.links import Links
from tests.browser.conftest import DEFAULT_SYSTEM, load_reference
from tests.browser.test_engine_failures import only, sign

pytestmark = pytest.mark.browser

SYSTEM = "systems/hop-sequential/system.json"
QUESTION = "a>b b>c ? a@1"
REMEDY = "check the checkpoint and build the system again"


@pytest.fixture
def broken(default_system: Path, tmp_path: Path) -> Path:
    """A copy of the default system, to be broken."""
    return Path(shutil.copytree(default_system, tmp_path / "hop-sequential"))


def spoil(folder: Path, agent: str, weight: str, value: float, element: int = 0) -> None:
    """Writes a number into a weight of a built agent."""
    path = folder / only(folder, f"{agent}*/tensor-cache.json")
    for shard in json.loads(path.read_text(encoding="utf-8"))["records"]:
        for record in shard["records"]:
            if record["name"] == weight:
                assert (record["dtype"], record["format"]) == ("float32", "raw")
                content = bytearray((path.parent / shard["dataPath"]).read_bytes())
                at = record["byteOffset"] + 4 * element
                content[at : at + 4] = np.float32(value).tobytes()
                (path.parent / shard["dataPath"]).write_bytes(content)
                sign(folder, (path.parent / shard["dataPath"]).relative_to(folder).as_posix())
                return
    raise AssertionError(f"{agent} has no {weight}")


@contextmanager
def loaded(browser: Browser, harness: Path, folder: Path) -> Iterator[EnginePage]:
    with serving(harness, folder) as url, open_page(browser, url) as page:
        page.load(SYSTEM)
        yield page
        assert page.complaints == []


def fault_of(page: EnginePage, **options: Any) -> str:
    """The one line with which a run stops."""
    with pytest.raises(EngineError) as failure:
        page.run(QUESTION, **options)
    assert failure.value.code == "bad-numbers"
    assert "\n" not in failure.value.message and failure.value.message.endswith(REMEDY)
    return failure.value.message


@pytest.mark.parametrize(("dtype", "largest"), [("float32", "3.4028234663852886e38"), ("float16", "65504")])
def test_the_first_row_that_is_not_finite_is_found(
    browser: Browser, harness: Path, default_system: Path, dtype: str, largest: str
) -> None:
    def row(value: str, at: int) -> dict[str, Any]:
        return {"spoilt": [{"at": at, "value": value}]}

    sound: dict[str, Any] = {}
    broken = [(value, at) for value in ("NaN", "Infinity", "-Infinity") for at in (0, 1, 20_001, 39_998, 39_999)]
    runs = [
        [sound, row(largest, 3), row(f"-{largest}", 4)],
        *([sound, row(*each), row("NaN", 5), sound] for each in broken),
    ]
    with serving(harness, default_system) as url, open_page(browser, url) as page:
        assert page.look_at(dtype, runs) == [7, *["row 1"] * len(broken)]
        assert page.complaints == []


def test_engine_stops_at_nan_weights_of_the_deciding_agent(browser: Browser, harness: Path, broken: Path) -> None:
    spoil(broken, "solver", "model.norm.weight", math.nan, element=3)
    with loaded(browser, harness, broken) as page:
        for mode in ("single", "loop", "latent"):
            assert "agent 'solver': its l" in fault_of(page, mode=mode, rounds=1), mode
        assert "agent 'solver': its logits are not finite" in fault_of(page, mode="text", rounds=1)
        assert "solver" in fault_of(page, mode="single", decoding={"temperature": 1.0})
        assert page.dispose()["liveBytes"] == 0


@pytest.mark.parametrize(("value", "temperature"), [(math.nan, 0), (math.nan, 1), (math.inf, 0), (-math.inf, 1)])
def test_engine_stops_at_a_single_logit_that_is_not_finite(
    browser: Browser, harness: Path, broken: Path, value: float, temperature: float
) -> None:
    spoil(broken, "solver", "lm_head.weight", value, element=600 * 160)
    with loaded(browser, harness, broken) as page:
        fault = fault_of(page, mode="single", decoding={"temperature": temperature})
    assert "agent 'solver': its logits are not finite" in fault


def test_engine_names_the_agent_whose_thoughts_were_not_finite_first(
    browser: Browser, harness: Path, broken: Path
) -> None:
    spoil(broken, "critic", "model.layers.0.mlp.down_proj.weight", math.nan, element=700)
    with loaded(browser, harness, broken) as page:
        # In later rounds every agent reads NaN; the critic was the first.
        assert "agent 'critic': its latent thoughts are not finite" in fault_of(page, rounds=3)
        assert "agent 'critic': its logits are not finite" in fault_of(page, mode="text")
        # The solver alone is sound, and nothing of the run before is left.
        assert page.run(QUESTION, mode="single")["answerTokenIds"]


def test_engine_names_the_edge_whose_link_is_not_finite(browser: Browser, harness: Path, broken: Path) -> None:
    path = broken / only(broken, "recursivelink*.json")
    links = json.loads(path.read_text(encoding="utf-8"))
    record = links["outer"]["planner->critic"]["tensors"]["w3"]
    # Finite, as a link file must be, but their sums are not.
    huge = np.full(record["shape"], 3e38, np.float32)
    record.update(dtype="float32", data=base64.b64encode(huge.tobytes()).decode())
    path.write_text(json.dumps(links), encoding="utf-8")
    sign(broken, path.relative_to(broken).as_posix())
    with loaded(browser, harness, broken) as page:
        fault = fault_of(page, rounds=1)
    assert "agent 'planner': what its links hand over on 'planner->critic' is not finite" in fault


def test_a_checkpoint_that_overflows_stops_in_the_browser_and_in_pytorch(
    browser: Browser, harness: Path, tmp_path: Path
) -> None:
    declared = yaml.safe_load(DEFAULT_SYSTEM.read_text(encoding="utf-8"))
    for agent in declared["agents"]:
        agent["model"] = str(DEFAULT_SYSTEM.parent / agent["model"])
    checkpoint = Path(shutil.copytree(DEFAULT_SYSTEM.parent / "agents/critic", tmp_path / "critic"))
    weights = {name: tensor.float() for name, tensor in load_file(checkpoint / "model.safetensors").items()}
    # `rmas build` refuses NaN and infinity. These weights are finite; their sums are not.
    weights["model.layers.1.mlp.up_proj.weight"][5] = 3e38
    save_file(weights, checkpoint / "model.safetensors", {"format": "pt"})
    declared["agents"][1]["model"] = str(checkpoint)
    del declared["task"]
    source, links = tmp_path / "hop-sequential.yaml", tmp_path / "links.json"
    source.write_text(yaml.safe_dump(declared), encoding="utf-8")
    sizes = {"planner": 96, "critic": 128, "solver": 160}
    edges = {"planner->critic": ("planner", "critic"), "critic->solver": ("critic", "solver")}
    edges["solver->planner"] = ("solver", "planner")
    Links.create(sizes, edges).to_file("hop-sequential", {}).save(links)
    build_system(source, links, tmp_path / "systems/hop-sequential", CompileOptions("q0f32"))

    with pytest.raises(InputError) as reference:
        load_reference(source, links).run([QUESTION])
    with loaded(browser, harness, tmp_path / "systems/hop-sequential") as page:
        fault = fault_of(page)
    same = "agent 'critic': its latent thoughts are not finite (NaN or infinity); its weights or links are broken"
    assert same in fault and same in str(reference.value)
