"""Puts the forms for subgroups in the places of the kernels that have one, and lets their shaders use subgroups.

TVM's own schedules keep the forms that every device has: with subgroups, TVM 0.27 takes for granted that they have 32
threads each.
"""

from functools import partial
from typing import Any

import tvm
from tvm import tirx

from recursivemas.compiler.kernels.append import append_kernel_with_subgroups
from recursivemas.compiler.kernels.decode_attention import attend_kernel_with_subgroups
from recursivemas.compiler.kernels.decode_product import decode_product_with_subgroups
from recursivemas.compiler.kernels.forms import with_other_forms
from recursivemas.compiler.kernels.link_product import link_product_with_subgroups

_MAKERS = {
    "append": append_kernel_with_subgroups,
    "decode_attention": attend_kernel_with_subgroups,
    "decode_product": decode_product_with_subgroups,
    "link_product": link_product_with_subgroups,
}


@tvm.transform.module_pass(opt_level=0, name="WithSubgroups")
class WithSubgroups:
    """Rewrites a module for subgroups of at least so many threads."""

    def __init__(self, subgroup_size: int) -> None:
        self._makers = {name: partial(make, subgroup_size) for name, make in _MAKERS.items()}

    def transform_module(self, mod: tvm.IRModule, _context: Any) -> tvm.IRModule:
        """Runs before scheduling."""
        return with_other_forms(mod, self._makers)


@tvm.transform.module_pass(opt_level=0, name="EnableSubgroups")
class EnableSubgroups:
    """Makes code generation begin each shader with `enable subgroups;`, whatever TVM's own passes were told."""

    def transform_module(self, mod: tvm.IRModule, _context: Any) -> tvm.IRModule:
        """Runs on a lowered module."""
        result = mod.clone()
        for name, function in mod.functions_items():
            if isinstance(function, tirx.PrimFunc) and function.attrs["target"].kind.name == "webgpu":
                target = tvm.target.Target({**function.attrs["target"].export(), "supports_subgroups": True})
                result[name] = function.with_attr("target", target)
        return result
