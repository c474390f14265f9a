"""The differences between MLC-LLM and the pinned TVM, one file each, in the order in which they are bridged."""

from recursivemas.mlc.compat import (
    call_tir_order,
    expert_mask,
    gelu_form,
    gptj_loader,
    kv_cache,
    relax_names,
    rnn_state,
    thread_limit,
    topk_init,
)
from recursivemas.mlc.compat.bridge import Bridge

BEFORE_IMPORT: tuple[Bridge, ...] = (relax_names.BRIDGE,)
"""Applied before MLC-LLM's modules are imported."""

AFTER_IMPORT: tuple[Bridge, ...] = (
    kv_cache.BRIDGE,
    call_tir_order.BRIDGE,
    thread_limit.BRIDGE,
    expert_mask.BRIDGE,
    topk_init.BRIDGE,
    gelu_form.BRIDGE,
    gptj_loader.BRIDGE,
    rnn_state.BRIDGE,
)
"""Applied to MLC-LLM's modules after they are imported."""

__all__ = ["AFTER_IMPORT", "BEFORE_IMPORT", "Bridge"]
