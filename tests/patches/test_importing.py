import sys
from pathlib import Path

import pytest

from harness.random_checkpoint import write_random_checkpoint
from recursivemas.compiler.backends import prepare
from recursivemas.compiler.checkpoint import Checkpoint
from recursivemas.mlc import tree
from recursivemas.mlc.importing import Mlc, import_mlc
from recursivemas.mlc.tree import SOURCE_VARIABLE, find_mlc
from recursivemas.system.errors import InputError
from recursivemas.system.quantize import find_scheme

from .conftest import FILES, write_tree

TINY = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "vocab_size": 259,
    "max_position_embeddings": 64,
    "tie_word_embeddings": False,
}


def _listing(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_import_mlc_runs_neither_the_package_nor_changes_its_tree(fake_tree: Path) -> None:
    before = _listing(fake_tree)
    mlc = import_mlc()
    assert list(mlc.models) == ["llama"]
    assert mlc.root == (fake_tree / "python" / "mlc_llm").resolve()
    assert _listing(fake_tree) == before


def test_import_mlc_twice_gives_the_same_modules(fake_tree: Path) -> None:
    assert import_mlc().models is import_mlc().models


def test_import_mlc_follows_a_changed_variable(
    fake_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_mlc()
    other = FILES | {"model/model.py": "MODELS = {'other': None}"}
    monkeypatch.setenv(SOURCE_VARIABLE, str(write_tree(tmp_path / "other", other)))
    assert list(import_mlc().models) == ["other"]


def test_describe_tells_version_and_digest(fake_tree: Path) -> None:
    root = fake_tree / "python" / "mlc_llm"
    seen = tree.describe(root)
    assert seen.startswith("9.9.test, unknown commit, definitions ")
    (root / "op" / "moe_misc.py").write_text("changed = True")
    assert tree.describe(root) != seen


def test_describe_names_the_commit_of_a_clone(fake_tree: Path) -> None:
    (fake_tree / ".git" / "refs" / "heads").mkdir(parents=True)
    (fake_tree / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    (fake_tree / ".git" / "refs" / "heads" / "main").write_text("0123456789abcdef\n")
    assert "commit 01234567" in tree.describe(fake_tree / "python" / "mlc_llm")


def test_import_mlc_refuses_a_version_it_cannot_bridge(fake_tree: Path) -> None:
    (fake_tree / "python" / "mlc_llm" / "nn" / "kv_cache.py").write_text("from tvm import tir_of_old")
    with pytest.raises(InputError) as caught:
        import_mlc()
    message = str(caught.value)
    assert "\n" not in message
    for part in ("9.9.test", "tir_of_old", "known to work", "79d603f0"):
        assert part in message
    assert not [name for name in sys.modules if name.startswith("mlc_llm")]


_ENTRY = """
    import dataclasses
    @dataclasses.dataclass
    class Config:
        from_dict = classmethod(lambda cls, values: cls())
    entry = {{"model_task": "chat", "source": {{}}, "config": Config, "quantize": {quantize}}}
    MODELS = {{"llama": type("Model", (), entry)()}}
"""
_SCHEME = "import types\nQUANTIZATION = {'q0f32': types.SimpleNamespace(kind='no-quant')}"


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"model/model.py": "MODELS = {'llama': None}"}, "AttributeError"),
        ({"model/model.py": _ENTRY.format(quantize="{}"), "quantization/quantization.py": ""}, "AttributeError"),
        ({"model/model.py": _ENTRY.format(quantize="{}")}, "KeyError: 'q0f32'"),
        (
            {"model/model.py": _ENTRY.format(quantize="3"), "quantization/quantization.py": _SCHEME},
            "TypeError: argument of type 'int'",
        ),
        (
            {
                "model/model.py": _ENTRY.format(quantize="{'no-quant': lambda config: None}"),
                "quantization/quantization.py": _SCHEME,
            },
            "TypeError",
        ),
    ],
)
def test_prepare_tells_in_one_line_what_is_wrong_with_an_unknown_version(
    fake_tree: Path, tmp_path: Path, files: dict[str, str], reason: str
) -> None:
    write_tree(fake_tree, files)
    write_random_checkpoint(tmp_path / "checkpoint", TINY)
    with pytest.raises(InputError) as caught:
        prepare(Checkpoint(tmp_path / "checkpoint"), find_scheme("q0f32"), "mlc")
    message = str(caught.value)
    assert "\n" not in message
    for part in (str(tmp_path / "checkpoint"), "9.9.test", "definitions ", reason, "known to work", "79d603f0"):
        assert part in message


def test_import_mlc_refuses_an_empty_registry(fake_tree: Path) -> None:
    (fake_tree / "python" / "mlc_llm" / "model" / "model.py").write_text("MODELS = {}")
    with pytest.raises(InputError, match="registry MODELS is empty"):
        import_mlc()


def test_find_mlc_refuses_a_folder_without_a_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SOURCE_VARIABLE, str(tmp_path))
    with pytest.raises(InputError, match="no MLC-LLM source tree there"):
        find_mlc()


def test_import_mlc_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SOURCE_VARIABLE, raising=False)
    monkeypatch.setattr(tree, "_installed", lambda: iter(()))
    with pytest.raises(InputError, match=SOURCE_VARIABLE):
        import_mlc()


def test_find_mlc_finds_an_installed_package(fake_tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SOURCE_VARIABLE)
    monkeypatch.syspath_prepend(str(fake_tree / "python"))
    expected = (fake_tree / "python" / "mlc_llm").resolve()
    assert find_mlc() == expected
    assert import_mlc().root == expected
    assert find_mlc() == expected  # also when a bare package takes its place


def test_known_tree_is_recognised(mlc: Mlc) -> None:
    if tree.tree_digest(mlc.root) not in tree.KNOWN_TREES:
        pytest.fail(f"{mlc.version} is not among the trees known to work; record it after checking the architectures")
    assert "79d603f0" in mlc.version


def test_real_import_leaves_the_tree_alone(mlc: Mlc) -> None:
    assert not list(mlc.root.rglob("__pycache__"))
