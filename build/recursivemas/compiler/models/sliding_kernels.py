"""The kernel of the KV cache that attends from one position to the nearest ones.

Source: TVM 0.27's `_attention_decode`, whose signature it has. TVM's own kernel gets a table of the window's pages. On
WebGPU the runtime keeps that table in the same buffer as the table of all pages, so that one overwrites the other.
Our cache gives every layer the table of all pages, and this kernel finds the window itself.
"""

from tvm import tirx
from tvm.script import tirx as T  # noqa: N812

DECODE = "tir_attention_decode_sliding_window"
PAGE_POSITIONS = 16
"""TVM's attention kernels know no other size of a page."""

_THREADS = 256
_LOG2_E = 1.4426950408889634


def windowed_decode_kernel(q_heads: int, kv_heads: int, head_dim: int, window: int, dtype: str) -> tirx.PrimFunc:
    """One position of each sequence attends to the last `window` positions, itself included.

    A workgroup computes one head: first its threads share the scores, then each sums over all of them for its part of
    the output.
    """
    group = q_heads // kv_heads

    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def windowed_decode(
        var_q: T.handle,
        var_pages: T.handle,
        var_indptr: T.handle,
        var_table: T.handle,
        var_length: T.handle,
        var_k_offset: T.handle,
        var_q_position: T.handle,
        var_output: T.handle,
        var_lse: T.handle,
        rotary_mode: T.int32,
        rope_scale: T.float32,
        rope_theta: T.float32,
        sm_scale: T.float32,
    ) -> None:
        T.func_attr({"tirx.is_scheduled": True, "tirx.noalias": True, "global_symbol": DECODE})
        batch, table_pages, num_pages = T.int32(), T.int32(), T.int32()
        pages_offset = T.int64()
        indptr_offset, table_offset, length_offset = T.int32(), T.int32(), T.int32()
        k_offset_offset, q_position_offset = T.int32(), T.int32()
        q = T.match_buffer(var_q, (batch, q_heads, head_dim), dtype)
        pages = T.match_buffer(
            var_pages, (num_pages, 2, kv_heads, PAGE_POSITIONS, head_dim), dtype, elem_offset=pages_offset
        )
        indptr = T.match_buffer(var_indptr, (batch + 1,), "int32", elem_offset=indptr_offset)
        table = T.match_buffer(var_table, (table_pages,), "int32", elem_offset=table_offset)
        length = T.match_buffer(var_length, (3, batch), "int32", elem_offset=length_offset)
        k_offset = T.match_buffer(var_k_offset, (batch,), "int32", elem_offset=k_offset_offset)  # noqa: F841
        q_position = T.match_buffer(var_q_position, (batch,), "int32", elem_offset=q_position_offset)  # noqa: F841
        output = T.match_buffer(var_output, (batch, q_heads, head_dim), dtype)
        lse = T.match_buffer(var_lse, (batch, q_heads), "float32")
        for b in T.thread_binding(batch, "blockIdx.x"):
            for h in T.thread_binding(q_heads, "blockIdx.y"):
                for thread in T.thread_binding(_THREADS, "threadIdx.x"):
                    with T.sblock("attend"):
                        scores = T.sblock_alloc_buffer((window,), "float32", scope="shared")
                        span = T.sblock_alloc_buffer((2,), "int32", scope="local")
                        state = T.sblock_alloc_buffer((3,), "float32", scope="local")
                        # The first position of the window, and how many there are.
                        span[1] = (indptr[b + 1] - indptr[b] - 1) * PAGE_POSITIONS + length[0, b]
                        span[0] = T.max(span[1] - window, 0)
                        span[1] = span[1] - span[0]
                        for step in T.serial((span[1] + _THREADS - 1) // _THREADS):
                            if step * _THREADS + thread < span[1]:
                                state[0] = T.float32(0)
                                for d in T.serial(head_dim):
                                    state[0] = state[0] + T.Cast("float32", q[b, h, d]) * T.Cast(
                                        "float32",
                                        pages[
                                            table[indptr[b] + (span[0] + step * _THREADS + thread) // PAGE_POSITIONS],
                                            0,
                                            h // group,
                                            (span[0] + step * _THREADS + thread) % PAGE_POSITIONS,
                                            d,
                                        ],
                                    )
                                scores[step * _THREADS + thread] = state[0] * sm_scale * T.float32(_LOG2_E)
                        T.tvm_storage_sync("shared")
                        state[0] = T.float32(-5e4)
                        for p in T.serial(span[1]):
                            state[0] = T.max(state[0], scores[p])
                        state[1] = T.float32(0)
                        for p in T.serial(span[1]):
                            state[1] = state[1] + T.exp2(scores[p] - state[0])
                        for step in T.serial((head_dim + _THREADS - 1) // _THREADS):
                            if step * _THREADS + thread < head_dim:
                                state[2] = T.float32(0)
                                for p in T.serial(span[1]):
                                    state[2] = state[2] + T.exp2(scores[p] - state[0]) * T.Cast(
                                        "float32",
                                        pages[
                                            table[indptr[b] + (span[0] + p) // PAGE_POSITIONS],
                                            1,
                                            h // group,
                                            (span[0] + p) % PAGE_POSITIONS,
                                            step * _THREADS + thread,
                                        ],
                                    )
                                output[b, h, step * _THREADS + thread] = T.Cast(dtype, state[2] / state[1])
                        if thread == 0:
                            lse[b, h] = state[0] + T.log2(state[1])

    return windowed_decode
