// TVM's KV cache, and what our own attention kernels need of it: where the new positions go, which pages hold the old
// ones, and the pages themselves. TVM's class has them as private members and always splits, appends and attends in
// kernels of its own; our kernels do all of that in one to three dispatches. `compiler/models/attention.py` calls these
// functions.
#include <tvm/ffi/container/map.h>
#include <tvm/ffi/error.h>
#include <tvm/ffi/extra/json.h>
#include <tvm/ffi/function.h>
#include <tvm/ffi/reflection/registry.h>
#include <tvm/runtime/device_api.h>
#include <tvm/runtime/disco/disco_worker.h>
#include <tvm/runtime/memory/memory_manager.h>
#include <tvm/runtime/tensor.h>
#include <tvm/support/cuda/nvtx.h>

#include <algorithm>
#include <iomanip>
#include <limits>
#include <locale>
#include <numeric>
#include <sstream>
#include <unordered_map>
#include <utility>
#include <vector>

#include "attn_backend.h"
#include "attn_utils.h"
#include "kv_state.h"

#define private public
#include "tvm_paged_kv_cache.cc"
#undef private

namespace tvm {
namespace runtime {
namespace vm {
namespace {

// The cache, ready for a call on one sequence.
PagedAttentionKVCacheObj* Ready(const AttentionKVCache& cache) {
  auto* own = static_cast<PagedAttentionKVCacheObj*>(const_cast<AttentionKVCacheObj*>(cache.operator->()));
  TVM_FFI_ICHECK(own->cur_batch_size_ == 1 && own->num_depths_ == 1)
      << "a call continues one sequence that shares no positions with another";
  own->ComputeStreamWaitForCopyStream();
  return own;
}

// Appends keys and values; returns the queries.
Tensor Append(PagedAttentionKVCacheObj* own, int64_t layer, const ffi::Function& append, const Tensor& qkv,
              const ffi::Array<Tensor>& norms) {
  Tensor q = own->temp_attn_q_device_.CreateView({qkv->shape[0], own->num_qo_heads_, own->qk_head_dim_}, qkv->dtype);
  const Tensor& at = own->q_rope_position_map_view_;
  const Tensor& slots = own->append_position_map_view_;
  const Tensor frequencies = own->rope_ext_factors_.value();
  if (norms.empty()) {
    append(qkv, at, slots, frequencies, own->pages_[layer], q);
  } else {
    append(qkv, at, slots, frequencies, own->pages_[layer], norms[0], norms[1], q);
  }
  return q;
}

}  // namespace

TVM_FFI_STATIC_INIT_BLOCK() {
  namespace refl = tvm::ffi::reflection;
  refl::GlobalDef()
      // One position. `attend` writes `parts`, which `merge` makes the output of.
      .def("recursivemas.attend_one",
           [](AttentionKVCache cache, int64_t layer, ffi::Function append, ffi::Function attend, ffi::Function merge,
              int64_t context, Tensor qkv, ffi::Array<Tensor> norms, Tensor output, Tensor parts) {
             auto* own = Ready(cache);
             TVM_FFI_ICHECK_LE(own->seq_map_.at(own->cur_seq_ids_[0]).seq_length, context)
                 << "this library was compiled for shorter contexts";
             Tensor q = Append(own, layer, append, qkv, norms);
             const Tensor& at = own->q_rope_position_map_view_;
             attend(q, at, own->page_indices_on_depths_view_[0], own->pages_[layer], parts);
             merge(parts, at, output);
           })
      // Several positions.
      .def("recursivemas.attend_many", [](AttentionKVCache cache, int64_t layer, ffi::Function append,
                                          ffi::Function attend, Tensor qkv, ffi::Array<Tensor> norms, Tensor output) {
        auto* own = Ready(cache);
        Tensor q = Append(own, layer, append, qkv, norms);
        int64_t past = own->q_rope_position_map_host_[0];
        attend(q, own->append_position_map_view_, own->page_indices_on_depths_view_[0], own->pages_[layer], past,
               output);
      });
}

}  // namespace vm
}  // namespace runtime
}  // namespace tvm
