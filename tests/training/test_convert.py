import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recursivemas.system.errors import InputError
from recursivemas.training.link_formats import from_nested, from_released, read_state_dict, to_nested, to_released
from recursivemas.training.links import InnerLink, Links, OuterLink


def random_links(variant: str) -> Links:
    torch.manual_seed(0)
    inner = {name: InnerLink(size, 5, variant) for name, size in (("a", 6), ("b", 8))}  # type: ignore[arg-type]
    outer = {"a->b": OuterLink(6, 8, 7, variant), "b->a": OuterLink(8, 6, 7, variant)}  # type: ignore[arg-type]
    links = Links(inner, outer, variant)  # type: ignore[arg-type]
    for parameter in links.parameters():
        torch.nn.init.normal_(parameter)
    return links


class ReleasedInner(torch.nn.Module):
    """Names and order of operations of the released inner adapter."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.pre_ln, self.post_ln = torch.nn.LayerNorm(size), torch.nn.LayerNorm(size)
        self.proj1, self.proj2 = torch.nn.Linear(size, size), torch.nn.Linear(size, size)

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.post_ln(h + self.proj2(torch.nn.functional.gelu(self.proj1(self.pre_ln(h)))))
        return out


class ReleasedOuter(torch.nn.Module):
    """Names and order of operations of the released outer adapter."""

    def __init__(self, source: int, target: int) -> None:
        super().__init__()
        self.ln_source, self.ln_target = torch.nn.LayerNorm(source), torch.nn.LayerNorm(target)
        self.proj1, self.proj2 = torch.nn.Linear(source, 2 * target), torch.nn.Linear(2 * target, target)
        self.residual_proj = torch.nn.Linear(source, target)

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        inside = self.residual_proj(h) + self.proj2(torch.nn.functional.gelu(self.proj1(self.ln_source(h))))
        out: torch.Tensor = self.ln_target(inside)
        return out


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_from_released_computes_what_the_adapter_computes(tmp_path: Path, dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    inner, outer = ReleasedInner(6).to(dtype), ReleasedOuter(6, 8).to(dtype)
    torch.save(inner.state_dict(), tmp_path / "i.pt")
    torch.save({"state_dict": {f"module.{k}": v for k, v in outer.state_dict().items()}}, tmp_path / "o.pt")
    links = Links.from_file(from_released("s", {"a": tmp_path / "i.pt"}, {"a->b": tmp_path / "o.pt"}))
    h = torch.randn(3, 6)
    torch.testing.assert_close(links.inner["a"](h), inner.float()(h))
    torch.testing.assert_close(links.outer["a->b"](h), outer.float()(h))


def test_released_round_trip_is_exact(tmp_path: Path) -> None:
    file = random_links("ln_res").to_file("s", {})
    to_released(file, tmp_path)
    again = from_released(
        "s",
        {agent: tmp_path / f"inner_{agent}.pt" for agent in ("a", "b")},
        {"a->b": tmp_path / "outer_a_to_b.pt", "b->a": tmp_path / "outer_b_to_a.pt"},
    )
    assert (again.inner, again.outer) == (file.inner, file.outer)


def test_from_released_keeps_the_precision_of_every_tensor(tmp_path: Path) -> None:
    outer = ReleasedOuter(6, 8).half().state_dict()
    del outer["residual_proj.bias"]
    torch.save(ReleasedInner(6).half().state_dict(), tmp_path / "i.pt")
    torch.save(outer, tmp_path / "o.pt")
    file = from_released("s", {"a": tmp_path / "i.pt"}, {"a->b": tmp_path / "o.pt"})
    tensors = [record for link in (*file.inner.values(), *file.outer.values()) for record in link.tensors.values()]
    assert {record.dtype for record in tensors} == {"float16"}


@pytest.mark.parametrize("variant", ["paper", "normed"])
def test_nested_round_trip_is_exact(tmp_path: Path, variant: str) -> None:
    links = random_links(variant)
    for link in links.inner.values() if variant == "normed" else ():
        torch.nn.init.constant_(link.scale, 0.3)
    file = links.to_file("s", {})
    to_nested(file, tmp_path / "n.json")
    again = from_nested(tmp_path / "n.json", "s", ["a", "b"], [("a->b", "a", "b"), ("b->a", "b", "a")])
    assert (again.inner, again.outer) == (file.inner, file.outer)


def nested(**changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    link = {
        "w1": rng.normal(size=(5, 6)).tolist(),
        "b1": rng.normal(size=5).tolist(),
        "w2": rng.normal(size=(6, 5)).tolist(),
        "b2": rng.normal(size=6).tolist(),
        "scale": 1.0,
    }
    return {"hidden": 6, "gelu": "erf", "norm": None, "links": [link], **changes}


@pytest.mark.parametrize("gelu", ["tanh", "erf"])
@pytest.mark.parametrize("with_w3", [False, True])
def test_from_nested_scales_both_branches_of_an_outer_link(tmp_path: Path, gelu: str, with_w3: bool) -> None:
    first, second = nested()["links"][0], {**nested()["links"][0], "scale": 0.5}
    w3 = torch.randn(6, 6) if with_w3 else torch.eye(6)
    if with_w3:
        second["w3"] = w3.tolist()
    (tmp_path / "n.json").write_text(json.dumps(nested(gelu=gelu, links=[first, second])))
    links = Links.from_file(from_nested(tmp_path / "n.json", "s", ["a"], [("a->a", "a", "a")]))
    h = torch.randn(2, 6)
    w = {name: torch.tensor(first[name], dtype=torch.float32) for name in ("w1", "b1", "w2", "b2")}
    approximate = "tanh" if gelu == "tanh" else "none"
    hidden = torch.nn.functional.gelu(h @ w["w1"].T + w["b1"], approximate=approximate)
    branch = hidden @ w["w2"].T + w["b2"]
    torch.testing.assert_close(links.inner["a"](h), h + branch)
    torch.testing.assert_close(links.outer["a->a"](h), 0.5 * (h @ w3.T + branch))


class NewestExporter(torch.nn.Module):
    """Names and order of operations of recursiveMASWebLLM's links since they divide by the length."""

    def __init__(self, source: int, target: int) -> None:
        super().__init__()
        self.w1, self.w2 = torch.nn.Linear(source, 5), torch.nn.Linear(5, target)
        same = source == target
        self.w3 = torch.nn.Identity() if same else torch.nn.Linear(source, target, bias=False)
        self.scale = torch.nn.Parameter(torch.randn(()))

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        n = h / (h.norm(dim=-1, keepdim=True) + 1e-6)
        out: torch.Tensor = self.scale * (
            self.w3(n) + self.w2(torch.nn.functional.gelu(self.w1(n), approximate="tanh"))
        )
        return out

    def entry(self) -> dict[str, Any]:
        """What it writes."""
        numbers = {"w1": self.w1.weight, "b1": self.w1.bias, "w2": self.w2.weight, "b2": self.w2.bias}
        written = {name: value.tolist() for name, value in numbers.items()} | {"scale": self.scale.item()}
        return written if isinstance(self.w3, torch.nn.Identity) else written | {"w3": self.w3.weight.tolist()}


def test_from_nested_reads_what_the_newest_exporter_writes(tmp_path: Path) -> None:
    torch.manual_seed(3)
    inner, wide, same = NewestExporter(6, 6), NewestExporter(6, 8), NewestExporter(6, 6)
    entries = [each.entry() for each in (inner, wide, same)]
    data = {"hidden": 6, "gelu": "tanh", "norm": True, "links": entries}
    (tmp_path / "n.json").write_text(json.dumps(data))
    file = from_nested(tmp_path / "n.json", "s", ["a"], [("a->b", "a", "b"), ("a->a", "a", "a")])
    assert (file.variant, file.activation) == ("normed", "gelu_tanh")
    file.check_compiles(tmp_path / "n.json")
    links = Links.from_file(file)
    h = 40 * torch.randn(4, 6)
    torch.testing.assert_close(links.inner["a"](h), inner(h))
    torch.testing.assert_close(links.outer["a->b"](h), wide(h))
    torch.testing.assert_close(links.outer["a->a"](h), same(h))


def changed(**changes: Any) -> list[dict[str, Any]]:
    return [{**nested()["links"][0], **changes}]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"model": 1}, "expected {hidden, gelu, norm, links"),
        (nested(norm="layer"), "norm 'layer' is unknown"),
        (nested(gelu="swish"), "gelu 'swish' is unknown; known are erf, gelu, tanh"),
        (nested(gelu=None), "gelu None is unknown"),
        (nested(links=[]), "has 0 links, system 's' needs 1, in this order: inner a"),
        (nested(links=[[1.0]]), "inner a is a list"),
        (nested(links=[{"w1": [[1.0]], "q": 1, "w2": [[1.0]]}]), "keys 'w1', 'q', 'w2'; expected w1, b1"),
        (nested(links=[{"w1": [[1.0], [2.0, 3.0]], "w2": [[1.0]]}]), "not numbers of one shape"),
        (nested(links=changed(w1=[1.0])), "expected w1 and w2 as lists of rows"),
        (nested(links=changed(scale=[1.0])), "scale as one number"),
        (nested(links=changed(scale=0.5)), "adds h as it is, unless the file says norm: true"),
        (nested(links=changed(w3=np.eye(6).tolist())), "Inner links come first"),
    ],
)
def test_from_nested_refuses_other_files(tmp_path: Path, data: Any, message: str) -> None:
    (tmp_path / "n.json").write_text(json.dumps(data))
    with pytest.raises(InputError, match=message):
        from_nested(tmp_path / "n.json", "s", ["a"], [])


def test_from_nested_wants_w3_where_sizes_differ(tmp_path: Path) -> None:
    wide = {"w1": np.ones((5, 6)).tolist(), "w2": np.ones((8, 5)).tolist()}
    (tmp_path / "n.json").write_text(json.dumps(nested(links=[wide])))
    with pytest.raises(InputError, match="maps 6 to 8 and has no w3"):
        from_nested(tmp_path / "n.json", "s", [], [("a->b", "a", "b")])


def test_from_released_refuses_swapped_and_foreign_files(tmp_path: Path) -> None:
    torch.save(ReleasedInner(6).state_dict(), tmp_path / "inner.pt")
    torch.save({"embed.weight": torch.zeros(2, 2)}, tmp_path / "other.pt")
    with pytest.raises(InputError, match="is an inner adapter, expected an outer one"):
        from_released("s", {}, {"a->b": tmp_path / "inner.pt"})
    with pytest.raises(InputError, match=r"its tensors are embed\.weight"):
        from_released("s", {"a": tmp_path / "other.pt"}, {})


EVIDENCE = Path(tempfile.gettempdir()) / "recursivemas-code-ran"


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (EVIDENCE,))


def test_read_state_dict_never_runs_code(tmp_path: Path) -> None:
    torch.save({"proj1.weight": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(InputError, match="never loaded"):
        read_state_dict(tmp_path / "evil.pt")
    assert not EVIDENCE.exists()


@pytest.mark.parametrize("content", [b"", b"not a model", b"PK\x03\x04broken"])
def test_read_state_dict_refuses_what_is_no_pytorch_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(InputError):
        read_state_dict(tmp_path / "x.pt")


def test_read_state_dict_names_what_a_tensor_list_is(tmp_path: Path) -> None:
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    with pytest.raises(InputError, match="got a list"):
        read_state_dict(tmp_path / "list.pt")
