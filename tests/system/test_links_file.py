import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recursivemas.system.errors import InputError
from recursivemas.system.links_file import (
    INNER_TENSORS,
    OUTER_TENSORS,
    Link,
    LinkFile,
    TensorRecord,
    load_links,
)
from recursivemas.system.names import LinkVariant


def make_link(variant: LinkVariant, source: int, target: int, width: int, inner: bool, seed: int) -> Link:
    rng = np.random.default_rng(seed)
    names = (INNER_TENSORS if inner else OUTER_TENSORS)[variant]
    empty = Link(source_size=source, target_size=target, width=width, tensors={})
    tensors = {
        name: TensorRecord.from_array(rng.standard_normal(shape).astype(np.float32))
        for name, shape in empty.shapes(names).items()
    }
    return Link(source_size=source, target_size=target, width=width, tensors=tensors)


def make_file(variant: LinkVariant = "ln_res") -> LinkFile:
    return LinkFile(
        system="pair",
        variant=variant,
        inner={"a": make_link(variant, 4, 4, 6, True, 1), "b": make_link(variant, 5, 5, 3, True, 2)},
        outer={"a->b": make_link(variant, 4, 5, 7, False, 3), "b->a": make_link(variant, 5, 4, 2, False, 4)},
        provenance={"seed": 3},
    )


@pytest.mark.parametrize("variant", ["paper", "ln_res"])
def test_link_file_round_trip_is_exact(variant: LinkVariant, tmp_path: Path) -> None:
    before = make_file(variant)
    before.save(tmp_path / "links.json")
    after = load_links(tmp_path / "links.json")
    assert after == before
    names = OUTER_TENSORS[variant]
    for name, array in before.outer["a->b"].arrays(names).items():
        np.testing.assert_array_equal(after.outer["a->b"].arrays(names)[name], array)
    assert [path.name for path in tmp_path.iterdir()] == ["links.json"]


def test_tensor_record_is_little_endian_row_major() -> None:
    record = TensorRecord.from_array(np.array([[1.0, 2.0]], np.float32))
    assert record.data == "AACAPwAAAEA="
    assert record.shape == (1, 2)


def test_link_absent_bias_of_the_paper_variant_is_zeros() -> None:
    link = make_link("paper", 4, 4, 6, True, 1)
    bare = link.model_copy(update={"tensors": {k: v for k, v in link.tensors.items() if k != "b1"}})
    LinkFile(system="x", variant="paper", inner={"a": bare}, outer={})
    assert not bare.arrays(INNER_TENSORS["paper"])["b1"].any()


def test_link_file_fits_its_system() -> None:
    make_file().check_fits({"a": 4, "b": 5}, {"a->b": ("a", "b"), "b->a": ("b", "a")})


@pytest.mark.parametrize(
    ("sizes", "edges", "message"),
    [
        ({"a": 8, "b": 5}, {}, "inner link 'a' maps hidden size 4 to 4, but the agents need 8 to 8"),
        ({"a": 4, "b": 5, "c": 6}, {}, "no inner link 'c'"),
        ({"a": 4, "b": 5}, {"a->b": ("b", "a")}, "outer link 'a->b' maps hidden size 4 to 5"),
        ({"a": 4, "b": 5}, {"x->y": ("a", "b")}, "no outer link 'x->y'"),
    ],
)
def test_link_file_wrong_dimensions_are_refused(
    sizes: dict[str, int], edges: dict[str, tuple[str, str]], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        make_file().check_fits(sizes, edges)


def broken(change: Any) -> dict[str, Any]:
    data: dict[str, Any] = make_file().model_dump(mode="json")
    change(data)
    return data


def _nan(data: dict[str, Any]) -> None:
    record = TensorRecord.from_array(np.full((6,), np.nan, np.float32))
    data["inner"]["a"]["tensors"]["b1"] = record.model_dump(mode="json")


BROKEN = {
    "other format": (lambda d: d.update(format="x"), "not a recursivelink.json"),
    "newer version": (lambda d: d.update(version=2), "version 2 is newer"),
    "unknown key": (lambda d: d.update(varient="x"), "unknown key 'varient'; did you mean 'variant'"),
    "missing tensor": (lambda d: d["inner"]["a"]["tensors"].pop("w1"), "inner link 'a' lacks tensor 'w1'"),
    "missing bias of ln_res": (lambda d: d["inner"]["a"]["tensors"].pop("b1"), "inner link 'a' lacks tensor 'b1'"),
    "extra tensor": (
        lambda d: d["inner"]["a"]["tensors"].update(w9=d["inner"]["a"]["tensors"]["w1"]),
        "unknown tensor 'w9'",
    ),
    "wrong shape": (
        lambda d: d["outer"]["a->b"]["tensors"]["w3"].update(shape=[4, 5]),
        r"tensor 'w3' must have shape \[5, 4\], got \[4, 5\]",
    ),
    "short data": (lambda d: d["inner"]["a"]["tensors"]["b1"].update(data="AAAA"), "needs 24 bytes, got 3"),
    "no base64": (lambda d: d["inner"]["a"]["tensors"]["b1"].update(data="%%"), "not base64"),
    "nan": (_nan, "tensor 'b1' holds NaN"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_link_file_broken_is_one_clear_line(case: str, tmp_path: Path) -> None:
    change, message = BROKEN[case]
    path = tmp_path / "links.json"
    path.write_text(json.dumps(broken(change)), encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        load_links(path)
    assert "\n" not in str(caught.value)
