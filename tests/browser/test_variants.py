"""A system that carries float32 and float16, in a browser whose adapter has no float16."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from harness.engine_page import open_page, serving
from recursivemas.compiler.agent_folder import CompileOptions
from recursivemas.release.package import build_system
from recursivemas.system.errors import InputError
from recursivemas.system.manifest import load_manifest
from tests.browser.conftest import DEFAULT_LINKS, DEFAULT_SYSTEM

pytestmark = pytest.mark.browser


def test_manifest_describes_both_variants(chatty_system: Path) -> None:
    manifest = load_manifest(chatty_system / "system.json")
    (half,) = manifest.variants
    assert ([each.dtype for each in manifest.agents], manifest.required_features) == (["float32"], ())
    assert ([each.dtype for each in half.agents], half.required_features) == (["float16"], ("shader-f16",))
    assert half.memory_bytes < manifest.memory_bytes
    assert half.agents[0].prompt == manifest.agents[0].prompt
    listed = {file.path for file in manifest.files}
    for agent in (*manifest.agents, *half.agents):
        assert {agent.model_lib, f"{agent.path}tensor-cache.json", f"{agent.path}params_shard_0.bin"} <= listed


def test_page_takes_the_variant_that_the_gpu_can_run(browser: Browser, harness: Path, chatty_system: Path) -> None:
    manifest = load_manifest(chatty_system / "system.json")
    unread = ("tensor-cache.json", "mlc-chat-config.json", "sbom.cdx.json")
    wanted = [file for file in manifest.files if not file.path.startswith(manifest.variants[0].agents[0].path)]
    expected = sum(file.size_bytes for file in wanted if not file.path.endswith(unread))
    with serving(harness, chatty_system.parent) as url, open_page(browser, url) as page:
        loaded = page.load("systems/chatty/system.json")
        assert "shader-f16" not in loaded["device"]["features"]
        assert loaded["progress"][-1]["totalBytes"] == expected
        outcome = page.run("Where is the ferry?", decoding={"maxNewTokens": 3})
        assert len(outcome["answerTokenIds"]) == 3


@pytest.mark.parametrize(
    ("variants", "message"),
    [(["q0f32"], "--variant q0f32: that is the system's own quantization"), (["q8"], "unknown quantization 'q8'")],
)
def test_build_refuses_variants_before_it_compiles(variants: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        build_system(DEFAULT_SYSTEM, DEFAULT_LINKS, tmp_path / "out", CompileOptions("q0f32"), variants=variants)
    assert not list(tmp_path.iterdir())
