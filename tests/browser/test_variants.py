"""What the page takes of a system that carries more than one kind of GPU needs.

The browser's adapter has no float16. Its subgroups have 4 threads.
"""

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from harness.engine_page import assert_same_turns, open_page, serving
from recursivemas.compiler.agent_folder import CompileOptions
from recursivemas.release.package import build_system
from recursivemas.system.errors import InputError
from recursivemas.system.manifest import load_manifest
from recursivemas.system.questions import load_questions
from recursivemas.training.recursion import Recursion
from tests.browser.conftest import DEFAULT_LINKS, DEFAULT_SYSTEM, SoftwareSchedules

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


@pytest.mark.parametrize(("size", "taken"), [(4, True), (8, False)])
def test_page_takes_the_library_with_subgroups_if_they_are_large_enough(
    browser: Browser,
    harness: Path,
    software_schedules: SoftwareSchedules,
    tmp_path: Path,
    reference: Recursion,
    size: int,
    taken: bool,
) -> None:
    with software_schedules():
        options = CompileOptions("q0f32", subgroup_size=size)
        manifest = build_system(DEFAULT_SYSTEM, DEFAULT_LINKS, tmp_path / "hop", options)
    others = {each.model_lib if taken else each.subgroup_lib.model_lib for each in manifest.agents if each.subgroup_lib}
    assert len(others) == len({each.model_lib for each in manifest.agents}) == 3
    unread = ("tensor-cache.json", "mlc-chat-config.json", "sbom.cdx.json")
    expected_bytes = sum(
        file.size_bytes for file in manifest.files if file.path not in others and not file.path.endswith(unread)
    )
    assert reference.system.task is not None and reference.system.task.data is not None
    question = load_questions(reference.system.task.data)[0].question
    expected = reference.run([question], rounds=3)
    with serving(harness, tmp_path) as url, open_page(browser, url) as page:
        loaded = page.load(f"systems/{manifest.name}/system.json")
        assert ("subgroups" in loaded["device"]["features"]) == taken
        assert loaded["progress"][-1]["totalBytes"] == expected_bytes
        came = page.run(question, rounds=3, trace={"handoffs": True, "thoughts": True})
        assert_same_turns(came, expected.turns, reference)
        assert came["answerTokenIds"] == expected.token_ids[0]
        assert page.complaints == []


@pytest.mark.parametrize(
    ("variants", "message"),
    [(["q0f32"], "--variant q0f32: that is the system's own quantization"), (["q8"], "unknown quantization 'q8'")],
)
def test_build_refuses_variants_before_it_compiles(variants: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        build_system(DEFAULT_SYSTEM, DEFAULT_LINKS, tmp_path / "out", CompileOptions("q0f32"), variants=variants)
    assert not list(tmp_path.iterdir())
