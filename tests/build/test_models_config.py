"""config.json: both spellings work, and whatever would be computed wrongly is refused."""

from typing import Any

import numpy as np
import pytest
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from recursivemas.compiler.models import FAMILIES, load_model_config, param_specs
from recursivemas.system.errors import InputError

LLAMA3 = {
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def _config(family: str = "llama", **changes: Any) -> dict[str, Any]:
    config = {
        "architectures": [FAMILIES[family].architecture],
        "model_type": FAMILIES[family].config_type or family,
        "hidden_act": "silu",
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "vocab_size": 100,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "rope_theta": 5e5,
        "tie_word_embeddings": False,
    }
    if family == "qwen2":
        # Every Qwen2 checkpoint has these keys, which have no effect.
        config |= {"use_sliding_window": False, "sliding_window": 32, "max_window_layers": 2}
    if family == "qwen3_5":
        sizes = {"num_key_heads": 2, "num_value_heads": 4, "key_head_dim": 8, "value_head_dim": 12}
        config |= {f"linear_{name}": size for name, size in sizes.items()}
        config |= {"linear_conv_kernel_dim": 4, "full_attention_interval": 2}
    config |= changes
    return {key: value for key, value in config.items() if value is not ...}


@pytest.mark.parametrize("family", FAMILIES)
def test_load_model_config_reads_transformers_4_and_5_alike(family: str) -> None:
    table = {"rope_type": "default", "rope_theta": 5e5}
    more: dict[str, Any] = {}
    if FAMILIES[family].sliding_layers:  # a table for each kind of layer, and an activation of its own
        table, more = {"full_attention": table}, {"hidden_act": ...}
    old = _config(family, **more)
    new = _config(family, rope_theta=..., rope_parameters=table, **more)
    assert load_model_config(old) == load_model_config(new)


@pytest.mark.parametrize("key", ["rope_type", "type"])
def test_load_model_config_reads_llama3_scaling_in_every_spelling(key: str) -> None:
    old = load_model_config(_config(rope_scaling={key: "llama3", **LLAMA3}))
    table = {"rope_type": "llama3", "rope_theta": 5e5, **LLAMA3}
    new = load_model_config(_config(rope_theta=..., rope_parameters=table))
    assert old == new
    assert old.rope_scaling is not None


def test_load_model_config_fills_in_what_old_checkpoints_leave_out() -> None:
    config = load_model_config(_config(num_key_value_heads=..., head_dim=..., rope_theta=..., rms_norm_eps=...))
    assert (config.num_key_value_heads, config.head_dim, config.rope_theta, config.rms_norm_eps) == (4, 16, 1e4, 1e-6)
    assert (config.context_window_size, config.prefill_chunk_size) == (4096, 1024)


def test_load_model_config_takes_sizes_of_context_and_chunk() -> None:
    config = load_model_config(_config(), context_window_size=100, prefill_chunk_size=7)
    assert (config.context_window_size, config.prefill_chunk_size) == (100, 7)


@pytest.mark.parametrize(
    ("family", "changes", "biases"),
    [
        ("qwen2", {}, (True, False, False)),
        ("qwen3", {}, (False, False, True)),
        ("qwen3", {"attention_bias": True}, (True, True, True)),
        ("llama", {"attention_bias": False}, (False, False, False)),
        ("llama", {"attention_bias": True}, (True, True, False)),
        ("mistral", {}, (False, False, False)),
    ],
)
def test_families_differ_in_biases_and_norms(
    family: str, changes: dict[str, Any], biases: tuple[bool, bool, bool]
) -> None:
    config = load_model_config(_config(family, **changes))
    assert (config.qkv_bias, config.o_bias, config.qk_norm) == biases
    names = {spec.name for spec in param_specs(config)}
    attention = f"model.layers.1.self_attn.{config.qkv_name}"
    assert (f"{attention}.bias" in names, "model.layers.1.self_attn.o_proj.bias" in names) == biases[:2]
    assert ("model.layers.1.self_attn.q_norm.weight" in names) == biases[2]


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("llama", {"model_type": "gemma2"}, r"model_type 'gemma2'.*supported: qwen2 .*, qwen3 .*, llama .*, mistral"),
        ("llama", {"model_type": ...}, "model_type None.*--backend mlc"),
        ("llama", {"architectures": ["LlamaForSequenceClassification"]}, "architectures.*supported"),
        ("llama", {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "'yarn'.*supported: default, llama3"),
        ("llama", {"rope_scaling": {"type": "linear", "factor": 4.0}}, "'linear'.*supported"),
        ("llama", {"rope_scaling": {"type": "llama3", "factor": 4.0}}, "missing key 'low_freq_factor'"),
        ("llama", {"rope_scaling": {"type": "llama3", **LLAMA3, "high_freq_factor": 1.0}}, "larger than"),
        ("llama", {"rope_parameters": {"full_attention": {"rope_type": "default"}}}, "differ between layers"),
        ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ("llama", {"rope_parameters": {"rope_theta": 1.0, "partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ("llama", {"mlp_bias": True}, "mlp_bias"),
        ("llama", {"hidden_act": "gelu"}, "'gelu'.*supported: silu"),
        ("llama", {"quantization_config": {"quant_method": "awq"}}, "quantization_config"),
        ("mistral", {"attention_bias": True}, "attention_bias"),
        ("qwen2", {"attention_bias": False}, "attention_bias"),
        ("mistral", {"sliding_window": 64}, "sliding_window 64 .* context window of at most 64"),
        ("qwen2", {"use_sliding_window": True}, "use_sliding_window"),
        ("qwen3", {"layer_types": ["full_attention", "sliding_attention"], "sliding_window": 8}, "sliding_window 8"),
        ("qwen3", {"layer_types": ["linear_attention"]}, "linear_attention.*supported: full_attention"),
        ("qwen3", {"head_dim": ...}, "missing key 'head_dim'"),
        ("mistral", {"num_key_value_heads": ...}, "missing key 'num_key_value_heads'"),
        ("llama", {"hidden_size": ...}, "missing key 'hidden_size'"),
        ("llama", {"hidden_size": "64"}, "positive integer was expected, got '64'"),
        ("llama", {"num_key_value_heads": 3}, "not a multiple"),
        ("llama", {"head_dim": ..., "hidden_size": 66}, "not a multiple"),
        ("llama", {"head_dim": 15}, "head_dim: an even number up to 256"),
        ("llama", {"rms_norm_eps": 0}, "positive number"),
        ("llama", {"tie_word_embeddings": "yes"}, "true or false"),
        ("llama", {"tie_word_embeddings": None}, "true or false was expected, got null"),
        ("llama", {"is_causal": False}, "is_causal is false, which is not implemented; accepted: true"),
        ("llama", {"is_causal": None}, "is_causal is null"),
        ("llama", {"is_casual": True}, "unknown key 'is_casual'; did you mean 'is_causal'"),
        ("llama", {"zzz": None}, "unknown key 'zzz'; take it out if"),
        ("llama", {"num_hidden_layers": 10**6}, "num_hidden_layers: at most 256 was expected, got 1000000"),
        ("llama", {"vocab_size": 10**9}, "vocab_size: at most"),
        ("llama", {"num_hidden_layers": True}, "num_hidden_layers: a positive integer was expected, got true"),
        ("llama", {"num_hidden_layers": 2.0}, "num_hidden_layers: a positive integer was expected, got 2.0"),
        ("llama", {"rms_norm_eps": float("nan")}, "positive number was expected, got nan"),
        ("llama", {"rms_norm_eps": float("inf")}, "positive number was expected, got inf"),
        ("llama", {"rms_norm_eps": 1}, "transformers refuses an integer, got 1; write 1.0"),
        ("llama", {"rope_theta": 10**400}, "rope_theta: a positive number was expected"),
        ("llama", {"rope_theta": None}, "rope_theta: a positive number was expected, got null"),
        ("llama", {"rope_scaling": {"rope_type": "default", "mrope_section": [1]}}, r"rope_scaling\.mrope_section"),
        ("llama", {"sliding_window": 64, "use_sliding_window": False}, "sliding_window 64 is shorter"),
        ("mistral", {"layer_types": None}, "transformers takes the model for another family"),
        ("qwen2", {"head_dim": None}, "head_dim is null"),
        ("llama", {"pad_token_id": 100}, r"pad_token_id: null or a token below vocab_size \(100\)"),
        ("llama", {"architectures": 5}, "architectures 5"),
        ("llama", {"auto_map": {"AutoModelForCausalLM": "m.M"}}, "auto_map is an object"),
    ],
)
def test_load_model_config_refuses_what_it_would_compute_wrongly(
    family: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_model_config(_config(family, **changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("sizes", [{"context_window_size": 200000}, {"prefill_chunk_size": 5000}])
def test_load_model_config_refuses_sizes_beyond_the_context(sizes: dict[str, int]) -> None:
    with pytest.raises(InputError, match="tokens was expected"):
        load_model_config(_config(), **sizes)


def test_a_sliding_window_that_hides_nothing_is_accepted() -> None:
    config = load_model_config(_config("mistral", sliding_window=4096))
    assert config.context_window_size == 4096
    assert load_model_config(_config("mistral", sliding_window=64), context_window_size=64).context_window_size == 64


def test_mistral_has_a_window_when_the_key_is_absent() -> None:
    assert load_model_config(_config("mistral")).context_window_size == 4096
    with pytest.raises(InputError, match="sliding_window 4096 is shorter than the context window of 5000"):
        load_model_config(_config("mistral"), context_window_size=5000)
    assert load_model_config(_config("mistral", sliding_window=None), context_window_size=5000)


def test_null_means_that_a_checkpoint_is_not_quantized() -> None:
    assert load_model_config(_config(quantization_config=None)) == load_model_config(_config())


@pytest.mark.parametrize("scaled", [False, True])
def test_rope_frequencies_equal_transformers(scaled: bool) -> None:
    table = (
        {"rope_type": "llama3", "rope_theta": 5e5, **LLAMA3} if scaled else {"rope_type": "default", "rope_theta": 1e6}
    )
    raw = _config(rope_theta=..., head_dim=64, rope_parameters=table)
    frequencies = load_model_config(raw).rope_frequencies()
    theirs = LlamaConfig(hidden_size=256, num_attention_heads=4, head_dim=64, rope_parameters=table)
    if scaled:
        expected = ROPE_INIT_FUNCTIONS["llama3"](theirs, device="cpu")[0].numpy()
    else:
        expected = 1 / 1e6 ** (np.arange(0, 64, 2) / 64)
    np.testing.assert_allclose(frequencies, expected, rtol=3e-7)


def test_param_specs_fuse_projections_in_order() -> None:
    config = load_model_config(_config("qwen2", head_dim=20))
    specs = {spec.name: spec for spec in param_specs(config)}
    qkv = specs["model.layers.0.self_attn.c_attn.weight"]
    assert qkv.sources == tuple(f"model.layers.0.self_attn.{name}_proj.weight" for name in "qkv")
    assert qkv.source_shapes == ((80, 64), (40, 64), (40, 64))
    assert qkv.shape == (160, 64)
    assert specs["model.layers.0.self_attn.c_attn.bias"].source_shapes == ((80,), (40,), (40,))
    assert specs["model.layers.0.mlp.gate_up_proj.weight"].shape == (192, 64)
    assert "model.layers.0.self_attn.qkv_proj.weight" in {
        spec.name for spec in param_specs(load_model_config(_config()))
    }


def test_param_specs_quantize_matrices_only() -> None:
    for spec in param_specs(load_model_config(_config("qwen3", attention_bias=True))):
        assert spec.quantize == (len(spec.shape) == 2), spec.name


@pytest.mark.parametrize("tied", [False, True])
def test_param_specs_leave_out_a_tied_lm_head(tied: bool) -> None:
    names = {spec.name for spec in param_specs(load_model_config(_config(tie_word_embeddings=tied)))}
    assert ("lm_head.weight" in names) != tied


def test_qwen3_5_is_read_from_a_checkpoint_for_pictures_and_text() -> None:
    text = _config("qwen3_5", architectures=..., num_hidden_layers=4)
    whole = {
        "architectures": ["Qwen3_5ForConditionalGeneration"],
        "model_type": "qwen3_5",
        "text_config": text,
        "vision_config": {"depth": 27},
        "image_token_id": 90,
        "tie_word_embeddings": False,
    }
    config = load_model_config(whole)
    assert config == load_model_config(_config("qwen3_5", num_hidden_layers=4))
    assert config.layer_types == ("linear_attention", "full_attention") * 2
    assert (config.rotary_dim, config.num_attention_layers, config.num_linear_layers) == (4, 2, 2)
    # Per layer: 3 positions of 2 * 16 + 48 channels, and 4 heads of 8 * 12.
    assert config.recurrent_state_bytes == 2 * 4 * (3 * 80 + 4 * 8 * 12)
    with pytest.raises(InputError, match=r"tie_word_embeddings differs from the one in text_config"):
        load_model_config({**whole, "tie_word_embeddings": True})
    with pytest.raises(InputError, match=r"audio_config beside text_config is not implemented"):
        load_model_config({**whole, "audio_config": {}})
    with pytest.raises(InputError, match=r"missing object 'text_config'"):
        load_model_config({**whole, "text_config": None})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"linear_num_value_heads": 3},
            r"linear_num_value_heads \(3\) is not a multiple of linear_num_key_heads \(2\)",
        ),
        ({"linear_key_head_dim": 512}, "linear_key_head_dim: 1 to 256 was expected, got 512"),
        ({"linear_conv_kernel_dim": 1}, "linear_conv_kernel_dim: 2 to 16 was expected, got 1"),
        ({"linear_conv_kernel_dim": ...}, "missing key 'linear_conv_kernel_dim'"),
        ({"layer_types": ["linear_attention"] * 2}, "layer_types: at least one full_attention was expected"),
        ({"layer_types": ["linear_attention", "sliding_attention"]}, "sliding_attention"),
        ({"full_attention_interval": 3}, r"full_attention_interval \(3\) is more than num_hidden_layers \(2\)"),
        ({"attn_output_gate": False}, "attn_output_gate is false, which is not implemented; accepted: true"),
        ({"mamba_ssm_dtype": "bfloat16"}, "mamba_ssm_dtype is 'bfloat16', which is not implemented"),
        ({"partial_rotary_factor": 0.2}, "partial_rotary_factor 0.2: an even number of a head's 16 values"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 2.0}}, "rope type 'yarn' is not implemented"),
        ({"linear_key_head": 8}, "unknown key 'linear_key_head'; did you mean"),
    ],
)
def test_qwen3_5_refuses_what_it_would_compute_wrongly(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_model_config(_config("qwen3_5", **changes))
