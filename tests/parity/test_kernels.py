"""Compares each form of the products with numpy, with everything that a product may do beside itself."""

from contextlib import nullcontext
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tvm
from numpy.typing import NDArray
from tvm import relax

from harness.libraries import Libraries, Library
from recursivemas.compiler.kernels.decode_product import decode_product
from recursivemas.compiler.kernels.product import Product
from recursivemas.compiler.kernels.tile_product import software_product, tile_product
from recursivemas.compiler.library import link_library
from recursivemas.compiler.pipeline import build_executable, webgpu_target
from recursivemas.compiler.relax_functions import define
from recursivemas.compiler.runtime import ensure_runtime
from recursivemas.compiler.shaders import shaders_of
from recursivemas.system.quantize import GroupQuantizer, dequantize
from tests.parity.emulated_subgroups import emulated_subgroups

pytestmark = pytest.mark.browser
Array = NDArray[np.float32]

PLAIN = Product(150, 72, "float32", packed=False, out_dtype="float32")
# Wide and narrow weights, columns that fill no group and no vector, and every option in several company.
PRODUCTS = {
    "plain": PLAIN,
    "packed": replace(PLAIN, packed=True),
    "norm": replace(PLAIN, packed=True, eps=1e-6),
    "zero_centred": replace(PLAIN, eps=1e-6, zero_centred=True, bias=True),
    "silu": replace(PLAIN, packed=True, eps=1e-5, gate="silu"),
    "gelu": replace(PLAIN, gate="gelu_tanh", residual=True),
    "all": replace(PLAIN, rows=4100, columns=1056, packed=True, eps=1e-6, bias=True, gate="silu", residual=True),
    "odd": replace(PLAIN, rows=7, columns=33, bias=True, residual=True),
    "flat": replace(PLAIN, batched=False, eps=1e-6),
    "one_group": replace(PLAIN, columns=20, eps=1e-6, bias=True),
    "team_of_four": replace(PLAIN, columns=144, packed=True, eps=1e-6, bias=True, residual=True),
    "gated_team_of_four": replace(PLAIN, columns=144, packed=True, eps=1e-6, bias=True, gate="silu"),
    "wide": replace(PLAIN, rows=4100, columns=1056, packed=True, eps=1e-6),
}
FORMS = {
    "decode": (decode_product, (1,)),
    "tile": (tile_product, (2, 31, 32, 70)),
    "software": (lambda product: software_product(**asdict(product)), (1, 6)),
}
# The software adapter's subgroups have 4 threads; larger ones are emulated.
SUBGROUP_SIZES = (2, 4, 32)


def _operands(product: Product, positions: int) -> dict[str, NDArray[Any]]:
    random = np.random.default_rng(positions)
    lead = (1, positions) if product.batched else (positions,)

    def values(*shape: int) -> Array:
        return random.normal(size=shape).astype(np.float32)

    weight = values(product.rows, product.columns)
    found: dict[str, NDArray[Any]] = {"x": 3 * values(*lead, product.columns)}
    if product.eps is not None:
        found["gain"] = values(product.columns)
    if product.packed:
        found["q_weight"], found["q_scale"] = GroupQuantizer("float32").quantize(weight)
    else:
        found["weight"] = weight
    if product.bias:
        found["bias"] = values(product.rows)
    if product.residual:
        found["residual"] = values(*lead, product.outputs)
    return found


def _expected(product: Product, operands: dict[str, NDArray[Any]]) -> NDArray[np.float64]:
    of = {name: value.astype(np.float64) for name, value in operands.items() if name != "q_weight"}
    x, weight = of["x"], of.get("weight")
    if weight is None:
        packed = operands["q_weight"], operands["q_scale"]
        weight = dequantize(*packed, product.columns).astype(np.float64)
    if product.eps is not None:
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + product.eps) * (of["gain"] + product.zero_centred)
    y = x @ weight.T + of.get("bias", 0)
    if product.gate:
        gate, up = np.split(y, 2, axis=-1)
        inner = np.sqrt(2 / np.pi) * (gate + 0.044715 * gate**3)
        y = up * gate * (1 / (1 + np.exp(-gate)) if product.gate == "silu" else (1 + np.tanh(inner)) / 2)
    result: NDArray[np.float64] = y + of.get("residual", 0)
    return result


@pytest.fixture(scope="module")
def library(libraries: Libraries, files: Path) -> Library:
    """One library with a function for each product and form."""
    return libraries.load(_compiled(files / "kernels.wasm", tuple(FORMS)))


@pytest.fixture(scope="module")
def subgroup_libraries(libraries: Libraries, files: Path) -> dict[int, Library]:
    """By size of the subgroups, a library with the forms that use them."""
    loaded = {}
    for size in SUBGROUP_SIZES:
        wasm = _compiled(files / f"kernels-{size}.wasm", ("decode",), size)
        with emulated_subgroups(libraries) if size > libraries.adapter["subgroup_size"] else nullcontext():
            loaded[size] = libraries.load(wasm)
    return loaded


def _compiled(out: Path, forms: tuple[str, ...], subgroup_size: int | None = None) -> Path:
    builder = relax.BlockBuilder()
    for form in forms:
        make, (first, *_) = FORMS[form]
        for name, product in PRODUCTS.items():
            positions = 1 if form == "decode" else tvm.tirx.Var("positions", "int64")
            kernel = builder.add_func(make(product), form)
            shapes = {key: list(value.shape) for key, value in _operands(product, first).items()}
            for key in ("x", "residual"):
                if key in shapes:
                    shapes[key][-2] = positions
            arguments = [
                relax.Var(key, relax.TensorType(shape, "uint32" if key == "q_weight" else "float32"))
                for key, shape in shapes.items()
            ]
            result = relax.TensorType([*shapes["x"][:-1], product.outputs], "float32")
            define(
                builder,
                f"{form}_{name}",
                arguments,
                partial(builder.emit, relax.call_tir(kernel, arguments, result)),
            )
    ours = {"hidden_size": 1, "vocab_size": 1, "dtype": "float32"}
    metadata = {"prefill_chunk_size": 1, "recursivemas": ours}
    executable = build_executable(
        builder.finalize(), metadata, schedule="gpu", bounds={}, target=webgpu_target(), subgroup_size=subgroup_size
    )
    exchanging = [shader.name for shader in shaders_of(executable.mod) if "subgroupShuffleXor" in shader.source]
    assert (len(exchanging) > 5) == (subgroup_size is not None)
    link_library(executable, out, ensure_runtime())
    return out


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", PRODUCTS)
def test_products_equal_numpy(library: Library, form: str, name: str) -> None:
    product = PRODUCTS[name]
    for positions in FORMS[form][1]:
        operands = _operands(product, positions)
        expected = _expected(product, operands)
        got = library.call(f"{form}_{name}", *operands.values())
        assert np.abs(got - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("size", SUBGROUP_SIZES)
@pytest.mark.parametrize("name", PRODUCTS)
def test_products_with_subgroups_equal_numpy(subgroup_libraries: dict[int, Library], size: int, name: str) -> None:
    operands = _operands(PRODUCTS[name], 1)
    expected = _expected(PRODUCTS[name], operands)
    got = subgroup_libraries[size].call(f"decode_{name}", *operands.values())
    assert np.abs(got - expected).max() < 1e-5 * np.abs(expected).max()
