"""The parameters of a compiled model, in the order in which its functions take them.

Names are MLC-LLM's, fused projections included, so that tensors can be compared with MLC's.
"""

from collections.abc import Iterator

from recursivemas.compiler.models.config import ModelConfig
from recursivemas.compiler.params import ParamSpec


def param_specs(config: ModelConfig) -> list[ParamSpec]:
    """Lists every parameter before quantization, in call order."""
    table = (config.vocab_size, config.hidden_size)
    specs = [_one("model.embed_tokens.weight", table, quantize=True)]
    for index in range(config.num_hidden_layers):
        specs += _layer(config, f"model.layers.{index}")
    specs.append(_one("model.norm.weight", (config.hidden_size,)))
    if not config.tie_word_embeddings:
        specs.append(_one("lm_head.weight", table, quantize=True))
    return specs


def _layer(config: ModelConfig, layer: str) -> Iterator[ParamSpec]:
    hidden, inner = config.hidden_size, config.intermediate_size
    attention, mlp = f"{layer}.self_attn", f"{layer}.mlp"
    qkv = (("q_proj", config.q_size), ("k_proj", config.kv_size), ("v_proj", config.kv_size))
    yield _fused(f"{attention}.{config.qkv_name}.weight", attention, qkv, "weight", (hidden,))
    if config.qkv_bias:
        yield _fused(f"{attention}.{config.qkv_name}.bias", attention, qkv, "bias", ())
    yield _one(f"{attention}.o_proj.weight", (hidden, config.q_size), quantize=True)
    if config.o_bias:
        yield _one(f"{attention}.o_proj.bias", (hidden,))
    if config.qk_norm:
        yield _one(f"{attention}.q_norm.weight", (config.head_dim,))
        yield _one(f"{attention}.k_norm.weight", (config.head_dim,))
    gate_up = (("gate_proj", inner), ("up_proj", inner))
    yield _fused(f"{mlp}.gate_up_proj.weight", mlp, gate_up, "weight", (hidden,))
    yield _one(f"{mlp}.down_proj.weight", (hidden, inner), quantize=True)
    yield _one(f"{layer}.input_layernorm.weight", (hidden,))
    yield _one(f"{layer}.post_attention_layernorm.weight", (hidden,))


def _one(name: str, shape: tuple[int, ...], *, quantize: bool = False) -> ParamSpec:
    return ParamSpec(name, shape, (name,), (shape,), quantize)


def _fused(
    name: str, prefix: str, parts: tuple[tuple[str, int], ...], kind: str, columns: tuple[int, ...]
) -> ParamSpec:
    return ParamSpec(
        name,
        (sum(rows for _, rows in parts), *columns),
        tuple(f"{prefix}.{part}.{kind}" for part, _ in parts),
        tuple((rows, *columns) for _, rows in parts),
        quantize=kind == "weight",
    )
