"""What a step of the paper's three agents asks of a GPU, counted: dispatches, workgroups, bytes and barriers.

Nothing is run. The libraries are compiled for their real shapes (no weights), dispatches are counted in their code,
and the rest follows from the kernels' own constants. Beside each figure is the one of version 0.1.0's library, which
used TVM's schedules and attention kernels, and the one of the library for subgroups. A second table shows, for each
product, the sizes that a kernel may have and the one that is chosen. Times need a GPU.
"""

import importlib.metadata
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from bench._executable import executable_of
from bench.real_size import MODELS
from recursivemas.compiler.export import HEAD_STEP, HIDDEN_STEP
from recursivemas.compiler.kernels import decode_attention, decode_product, prefill_attention, tile_product
from recursivemas.compiler.kernels.product import Product
from recursivemas.compiler.models import ModelConfig, load_model_config
from recursivemas.compiler.models.kv_cache import attention_shape
from recursivemas.compiler.shaders import Shader, shaders_of
from recursivemas.compiler.wgsl import refused_by_dawn
from recursivemas.system.files import write_text_atomic
from recursivemas.system.quantize import GROUP_SIZE

EVIDENCE = Path("docs/evidence/bench-kernels.json")
SCHEME = "q4f16_1"
POSITIONS = 700
PROMPT = 512
SUBGROUP_SIZE = 32
_DISPATCHES = {"recursivemas.attend_one": 3, "recursivemas.attend_many": 2}
_BARRIER = "workgroupBarrier();"
_CALL = re.compile(r"^  call +(\S+) +in:", re.MULTILINE)

# Measured on version 0.1.0: dispatches of a layer, a latent step, a greedy and a sampled pick, and the first chunk of a
# prompt; workgroups of the products of a step (Qwen3 only), and barriers of attention in a layer. Derived from them for
# Qwen3: 8 barriers a workgroup of a product, and 3.6 times as many bytes of activations as of weights. Nobody counted
# the kernels of a prompt.
EARLIER: dict[str, dict[str, int]] = {
    "Qwen3-1.7B": {
        **{"layer": 16, "latent_step": 458, "decode": 451, "greedy": 5, "sampled": 45},
        **{"prefill": 451, "product_workgroups": 573000, "attention_workgroups": 8, "attention_barriers": 1408},
        **{"product_barriers": 8 * 573000, "activation_bytes": 3_480_000_000},
    },
    "Llama-3.2-1B": {
        **{"layer": 10, "latent_step": 164, "decode": 163, "prefill": 163},
        **{"attention_workgroups": 8, "attention_barriers": 1144},
    },
    "Qwen2.5-Math-1.5B": {
        **{"layer": 10, "latent_step": 284, "decode": 283, "prefill": 283},
        **{"attention_workgroups": 2, "attention_barriers": 5148},
    },
}


def main() -> None:
    """Prints the table and writes `docs/evidence/bench-kernels.json`."""
    console = Console()
    results = {name: count(config) for name, config in MODELS.items()}
    subgroups = {name: count(config, SUBGROUP_SIZE) for name, config in MODELS.items()}
    for name, result in results.items():
        second = f"with subgroups of {SUBGROUP_SIZE}"
        table = Table("count", "0.1.0", "now", second, title=f"{name} {SCHEME}")
        for key, value in result.items():
            earlier = EARLIER[name].get(key)
            before = "" if earlier is None else f"{earlier:,}"
            table.add_row(key.replace("_", " "), before, f"{value:,}", f"{subgroups[name][key]:,}")
        console.print(table)
    sizes = {name: product_sizes(load_model_config(config)) for name, config in MODELS.items()}
    show_sizes(console, sizes)
    report = {
        "command": "python -m bench kernels",
        "versions": {name: importlib.metadata.version(name) for name in ("recursivemas", "apache-tvm")},
        "cache_positions": POSITIONS,
        "prompt_positions": PROMPT,
        "version_0_1_0": EARLIER,
        "results": results,
        "subgroup_size": SUBGROUP_SIZE,
        "results_with_subgroups": subgroups,
        "product_sizes": sizes,
    }
    write_text_atomic(EVIDENCE, json.dumps(report, indent=1) + "\n")
    console.print(f"written to {EVIDENCE}")


def count(raw: Mapping[str, Any], subgroup_size: int | None = None) -> dict[str, int]:
    """All counts of one model."""
    config, executable = load_model_config(raw), executable_of(raw, SCHEME, subgroup_size)
    shaders = shaders_of(executable.mod)
    dispatches = count_dispatches(executable.as_text(), shaders)
    return {
        "layer": (dispatches[HIDDEN_STEP] - 1) // config.num_hidden_layers,  # All but the final norm.
        "latent_step": dispatches["latent_step_paper"],
        "decode": dispatches["decode"],
        "greedy": dispatches["argmax"],
        "sampled": sum(dispatches[each] for each in ("softmax_with_temperature", "argsort_probs", "sample_with_top_p")),
        "prefill": dispatches["prefill"],
        **products(config, shaders),
        **attention(config, shaders, subgroup_size),
        **prompt_products(config, shaders),
        **prompt_attention(config, shaders),
        **limits(shaders),
    }


def count_dispatches(code: str, shaders: list[Shader]) -> dict[str, int]:
    """Dispatches of each function of a library, those of the functions that it calls included.

    Args:
        code: The executable as text.
        shaders: Its shaders, whose names begin with those of the functions that dispatch them.
    """
    kernels = {re.sub(r"_kernel(_\d+)?$", "", shader.name) for shader in shaders}
    bodies = {part.partition(":")[0]: part for part in f"\n{code}".split("\n@") if ":\n" in part}

    def total(name: str) -> int:
        found = 0
        for called in _CALL.findall(bodies[name]):
            found += _DISPATCHES.get(called, 0) + (called in kernels) + (total(called) if called in bodies else 0)
        return found

    assert HEAD_STEP in bodies
    return {name: total(name) for name in bodies}


def products_of(config: ModelConfig) -> dict[str, tuple[Product, int]]:
    """The products of a step and how often each runs, by name."""
    hidden, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers

    def packed(rows: int, columns: int, eps: float | None = None, gate: Literal["silu"] | None = None) -> Product:
        return Product(rows, columns, "float16", packed=True, out_dtype="float16", eps=eps, gate=gate)

    return {
        "query, key, value": (packed(config.q_size + 2 * config.kv_size, hidden, config.rms_norm_eps), layers),
        "output": (packed(hidden, config.q_size), layers),
        "gate, up": (packed(2 * inner, hidden, config.rms_norm_eps, "silu"), layers),
        "down": (packed(hidden, inner), layers),
        "logits": (packed(config.vocab_size, hidden), 1),
    }


def products(config: ModelConfig, shaders: list[Shader]) -> dict[str, int]:
    """Workgroups of a step's products, the bytes of weights that they read, and of activations."""
    (barriers,) = {each.source.count(_BARRIER) for each in shaders if each.name.startswith("decode_product")}
    workgroups = weights = activations = 0
    for product, times in products_of(config).values():
        chosen = decode_product.choice(product)
        workgroups += times * chosen.workgroups
        weights += times * weight_bytes(product)
        activations += times * chosen.activation_bytes
    return {
        "product_workgroups": workgroups,
        "product_barriers": workgroups * barriers,
        "product_workgroup_bytes": _workgroup_bytes(shaders, "decode_product"),
        "weight_bytes": weights,
        "activation_bytes": activations,
    }


def weight_bytes(product: Product) -> int:
    """Bytes of a packed weight and its scales."""
    return product.rows * (product.columns // 2 + 2 * product.columns // GROUP_SIZE)


def product_sizes(config: ModelConfig) -> dict[str, list[dict[str, Any]]]:
    """For each product of a step, the sizes that its kernel may have."""
    return {
        f"{name} ({product.rows} x {product.columns})": [
            {
                "rows": each.rows,
                "team": each.team,
                "workgroups": each.workgroups,
                "activation_bytes_of_weight_bytes": round(each.activation_bytes / weight_bytes(product), 2),
                "idle": round(each.idle, 3),
                "chosen": each == decode_product.choice(product),
            }
            for each in decode_product.choices(product)
        ]
        for name, (product, _) in products_of(config).items()
    }


def show_sizes(console: Console, sizes: Mapping[str, Mapping[str, list[dict[str, Any]]]]) -> None:
    """Prints `product_sizes` of each model."""
    for model, products in sizes.items():
        columns = (
            "product",
            "rows a thread",
            "threads a team",
            "workgroups",
            "activations / weights",
            "idle",
            "chosen",
        )
        table = Table(*columns, title=f"Sizes of {model}'s products")
        for name, choices in products.items():
            for each in choices:
                figures = (each["rows"], each["team"], f"{each['workgroups']:,}")
                shares = (each["activation_bytes_of_weight_bytes"], f"{each['idle']:.1%}")
                table.add_row(name, *map(str, (*figures, *shares)), "yes" if each["chosen"] else "")
            table.add_section()
        console.print(table)


def attention(config: ModelConfig, shaders: list[Shader], subgroup_size: int | None) -> dict[str, int]:
    """Workgroups, barriers and exponentials of the split attention of a layer at `POSITIONS` positions."""
    shape = attention_shape(config, "float16")
    spans = -(-POSITIONS // decode_attention.span(shape))
    workgroups = spans * shape.kv_heads * shape.head_splits
    (barriers,) = {each.source.count(_BARRIER) for each in shaders if each.name == "decode_attention_kernel"}
    exponentials = decode_attention.exponentials(shape, subgroup_size)
    return {
        "attention_workgroups": workgroups,
        "attention_barriers": workgroups * barriers,
        "attention_workgroup_bytes": _workgroup_bytes(shaders, "decode_attention"),
        "attention_exponentials": workgroups * exponentials,
    }


def prompt_products(config: ModelConfig, shaders: list[Shader]) -> dict[str, int]:
    """Workgroups and barriers of all products of a prompt of `PROMPT` positions, and the bytes that they load."""
    in_code = {each.source.count(_BARRIER) for each in shaders if each.name.startswith("tile_product")}
    assert in_code <= {2, 4}  # two in the loop over groups of columns, two behind it with a norm
    tile = tile_product.LARGE["float16"]
    high = -(-PROMPT // tile.positions)
    workgroups = barriers = weights = activations = 0
    for product, times in products_of(config).values():
        if times == 1:
            continue  # logits are of the last position alone
        wide = -(-product.outputs // (tile.rows // 2 if product.gate else tile.rows))
        workgroups += times * wide * high
        barriers += times * wide * high * (2 * product.groups + (0 if product.eps is None else 2))
        weights += times * high * weight_bytes(product)
        activations += times * wide * PROMPT * product.columns * 2
    return {
        "prompt_product_workgroups": workgroups,
        "prompt_product_barriers": barriers,
        "prompt_weight_bytes": weights,
        "prompt_activation_bytes": activations,
    }


def prompt_attention(config: ModelConfig, shaders: list[Shader]) -> dict[str, int]:
    """Workgroups and barriers of a layer's attention to a prompt, and the bytes of keys and values that they load."""
    shape = attention_shape(config, "float16")
    assert shape.window is None
    in_code = {each.source.count(_BARRIER) for each in shaders if each.name.startswith("prefill_attention")}
    assert in_code == {6}  # four in the loop over blocks of keys, two behind it
    positions, block = prefill_attention.ROWS // shape.shared_heads, prefill_attention.block(shape)
    beside = shape.kv_heads * shape.head_splits
    firsts = range(0, PROMPT, positions)
    workgroups = beside * len(firsts)
    steps = beside * sum(-(-min(first + positions, PROMPT) // block) for first in firsts)
    return {
        "prompt_attention_workgroups": workgroups,
        "prompt_attention_barriers": 4 * steps + 2 * workgroups,
        "prompt_attention_bytes": steps * block * shape.head_dim * 2 * 2,
    }


def _workgroup_bytes(shaders: list[Shader], kernel: str) -> int:
    """The most workgroup memory of a kernel's shaders."""
    return max(shader.workgroup_bytes for shader in shaders if shader.name.startswith(kernel))


def limits(shaders: list[Shader]) -> dict[str, int]:
    """What the shaders need at most."""
    return {
        "shaders": len(shaders),
        "shader_characters": sum(len(shader.source) for shader in shaders),
        "storage_buffers": max(shader.storage_buffers for shader in shaders),
        "workgroup_bytes": max(shader.workgroup_bytes for shader in shaders),
        "shaders_that_dawn_refuses": len(refused_by_dawn(shaders)),
    }


if __name__ == "__main__":
    main()
