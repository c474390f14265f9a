from pathlib import Path

import pytest
import torch
from torch.nn import functional

from recursivemas.system.links_file import LinkFile
from recursivemas.training.links import InnerLink, Links, OuterLink


def randomise(module: torch.nn.Module) -> None:
    torch.manual_seed(0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)


def test_inner_link_paper_is_the_papers_equation() -> None:
    link = InnerLink(6, 5, "paper")
    randomise(link)
    h = torch.randn(4, 6)
    expected = h + functional.gelu(h @ link.w1.T + link.b1) @ link.w2.T + link.b2
    torch.testing.assert_close(link(h), expected)


def test_inner_link_ln_res_normalises_before_and_after() -> None:
    link = InnerLink(6, 6, "ln_res")
    randomise(link)
    h = torch.randn(4, 6)
    before = functional.layer_norm(h, (6,), link.ln_pre.weight, link.ln_pre.bias, 1e-5)
    inside = h + functional.gelu(before @ link.w1.T + link.b1) @ link.w2.T + link.b2
    expected = functional.layer_norm(inside, (6,), link.ln_post.weight, link.ln_post.bias, 1e-5)
    torch.testing.assert_close(link(h), expected)


def test_outer_link_ln_res_adds_the_straight_path_inside_the_norm() -> None:
    link = OuterLink(6, 8, 16, "ln_res")
    randomise(link)
    h = torch.randn(4, 6)
    before = functional.layer_norm(h, (6,), link.ln_source.weight, link.ln_source.bias, 1e-5)
    inside = h @ link.w3.T + link.b3 + functional.gelu(before @ link.w1.T + link.b1) @ link.w2.T + link.b2
    expected = functional.layer_norm(inside, (8,), link.ln_target.weight, link.ln_target.bias, 1e-5)
    torch.testing.assert_close(link(h), expected)


def test_outer_link_paper_has_no_norm() -> None:
    link = OuterLink(6, 8, 5, "paper")
    randomise(link)
    h = torch.randn(4, 6)
    expected = h @ link.w3.T + link.b3 + functional.gelu(h @ link.w1.T + link.b1) @ link.w2.T + link.b2
    torch.testing.assert_close(link(h), expected)


def test_created_normed_links_are_what_libraries_compute_and_start_at_the_embeddings_size(tmp_path: Path) -> None:
    links = Links.create({"a": 6, "b": 8}, {"a->b": ("a", "b")}, "normed")
    links.to_file("s", {}).check_compiles(tmp_path)
    with torch.no_grad():
        links.inner["a"].w2.zero_()
        links.inner["a"].scale_output(0.5)
        out = links.inner["a"](40 * torch.randn(3, 6))
    torch.testing.assert_close(out.norm(dim=1), torch.full((3,), 0.5 * 6**0.5))


def test_links_take_bfloat16_and_answer_in_float32() -> None:
    link = OuterLink(6, 8, 5, "ln_res")
    assert link(torch.randn(2, 6, dtype=torch.bfloat16)).dtype == torch.float32


@pytest.mark.parametrize(("variant", "bias"), [("paper", True), ("paper", False), ("ln_res", True), ("normed", True)])
def test_links_file_round_trip_is_exact(variant: str, bias: bool) -> None:
    inner = {"a": InnerLink(6, 5, variant, bias=bias)}  # type: ignore[arg-type]
    outer = {"a->b.c": OuterLink(6, 8, 7, variant, "gelu_tanh", bias=bias)}  # type: ignore[arg-type]
    links = Links(inner, outer, variant, "gelu_tanh")  # type: ignore[arg-type]
    randomise(links)
    file = links.to_file("test", {"seed": 1})
    again = Links.from_file(LinkFile.parse(file.model_dump(mode="json"), "memory"))
    assert again.activation == "gelu_tanh"
    assert again.to_file("test", {"seed": 1}) == file
    for name, tensor in links.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)


def test_links_file_rounded_to_float16_is_near_and_half_the_size() -> None:
    torch.manual_seed(0)
    file = Links.create({"a": 6, "b": 8}, {"a->b": ("a", "b")}).to_file("s", {})
    small = file.rounded("float16")
    assert {record.dtype for link in small.outer.values() for record in link.tensors.values()} == {"float16"}
    weight, rounded = (each.outer["a->b"].tensors["w3"] for each in (file, small))
    assert len(rounded.data) < 0.55 * len(weight.data)
    assert abs(rounded.array().astype("float32") - weight.array()).max() < 2e-3
    again = small.rounded("float32").outer["a->b"].tensors["w3"].array()
    assert (again == rounded.array().astype("float32")).all()
