"""Puts the forms for adapters that run on the CPU in the places of the kernels that have one.

There a barrier costs more than the memory traffic that it saves, and a shader that has barriers in a loop takes seconds
to compile.
"""

from typing import Any

import tvm

from recursivemas.compiler.kernels.forms import with_other_forms
from recursivemas.compiler.kernels.prefill_attention import software_prefill_kernel
from recursivemas.compiler.kernels.tile_product import software_product

_MAKERS = {"prefill_attention": software_prefill_kernel, "tile_product": software_product}


@tvm.transform.module_pass(opt_level=0, name="WithoutWorkgroupMemory")
class WithoutWorkgroupMemory:
    """Rewrites a module for adapters that run on the CPU."""

    def transform_module(self, mod: tvm.IRModule, _context: Any) -> tvm.IRModule:
        """Runs before scheduling."""
        return with_other_forms(mod, _MAKERS)
