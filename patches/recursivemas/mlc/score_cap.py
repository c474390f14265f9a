"""Soft-caps attention scores, which neither MLC-LLM's definitions nor TVM's attention kernels do.

Source: Gemma 2 (arXiv 2408.00118), section 2: scores = cap * tanh(scores / cap), before the mask and the softmax. TVM's
kernels multiply scores by log2(e), for exponentials to base 2, so the cap is multiplied by it too. Deviation: tanh(x)
is computed as 1 - 2 / (exp(2x) + 1), because WGSL promises tanh to 1e-5 only and a score is 50 times that.
"""

import math
import re

import tvm
from tvm import tirx

from recursivemas.system.errors import InputError

_SCALE = "sm_scale"
"""A parameter of every attention kernel and of no other kernel."""

# The one place in each kernel that has a whole score. Python cannot rewrite a kernel's statements in TVM 0.27, so this
# edits TVMScript.
_SCORE = re.compile(
    r"^( *(?:"
    r"S_smem\[[^]]*\] = (?=S_local\[)"
    r"|S_local\[\w+\] = (?=t0\[0\])"
    r"|S_val\[0\] = (?=S_val\[0\] \* \(sm_scale)"
    r"|attention_score\[0\] = (?=result\[0\] \*)"
    r"))(.+)$",
    re.MULTILINE,
)
_STRAY = re.compile(
    r"^ *(?P<name>\w+) = T\.Buffer\(.*\)\n(?= *T\.reads\(.*(?P=name))(?P<reads>.*\n)( *T\.writes\(.*\n)?", re.MULTILINE
)
"""Regions of a block that name a buffer of the same block. TVMScript prints them before the buffer and then cannot
parse them; if they are left out, TVM infers them."""

_LARGEST_EXPONENT = 64
"""exp2 of it is beyond float32's precision but far from overflow, which WGSL leaves undefined."""


def cap_scores(mod: tvm.IRModule, cap: float) -> tvm.IRModule:
    """Makes the attention kernels of a module cap their scores.

    Args:
        mod: With the kernels of a KV cache.
        cap: Scores end up between `-cap` and `cap`.

    Raises:
        InputError: A kernel is unknown.
    """
    mod = mod.clone()
    for name, function in mod.functions_items():
        if isinstance(function, tirx.PrimFunc) and any(param.name == _SCALE for param in function.params):
            mod[name] = _capped(function, name.name_hint, cap)
    return mod


def _capped(function: tirx.PrimFunc, name: str, cap: float) -> tirx.PrimFunc:
    limit = cap * math.log2(math.e)

    def capped(match: re.Match[str]) -> str:
        exponent = f"T.min({match[2]} * T.float32({2 / cap!r}), T.float32({_LARGEST_EXPONENT}.0))"
        return f"{match[1]}T.float32({limit!r}) - T.float32({2 * limit!r}) / (T.exp2({exponent}) + T.float32(1.0))"

    text, places = _SCORE.subn(capped, _STRAY.sub("", function.script()))
    if places != 1:
        raise InputError(f"TVM's attention kernel {name} has {places} places to cap scores at; expected 1")
    return tvm.script.from_source(text)
