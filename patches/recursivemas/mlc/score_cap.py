"""Soft-capped attention scores, which neither MLC-LLM's definitions nor TVM's attention kernels have.

Source: Gemma 2 (arXiv 2408.00118), section 2: scores = cap * tanh(scores / cap), before the mask and the softmax. TVM's
kernels hold scores times log2(e), for base-2 exponentials, so the cap is multiplied likewise. Departure: tanh(x) is
1 - 2 / (exp(2x) + 1), because WGSL promises tanh to 1e-5 only and a score is 50 times that.
"""

import math
import re

import tvm
from tvm import tirx

from recursivemas.system.errors import InputError

_SCALE = "sm_scale"
"""Every attention kernel's parameter, and no other kernel's."""

# Where a kernel has a whole score, once, whatever the target; TVM 0.27 lets Python not rewrite a kernel's statements,
# so this goes by way of TVMScript.
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
"""A block's regions where they name a buffer of that block: TVMScript prints them before the buffer, and then cannot
read them. Left out, TVM finds them again."""

_LARGEST_EXPONENT = 64
"""exp2 of it is beyond float32's precision and far from its overflow, which WGSL leaves undefined."""


def cap_scores(mod: tvm.IRModule, cap: float) -> tvm.IRModule:
    """A module whose attention kernels cap their scores.

    Args:
        mod: With the kernels of a KV cache.
        cap: Scores end up between `-cap` and `cap`.

    Raises:
        InputError: A kernel is not one of those known.
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
        raise InputError(f"TVM's attention kernel {name} has {places} places to cap scores at; 1 was expected")
    return tvm.script.from_source(text)
