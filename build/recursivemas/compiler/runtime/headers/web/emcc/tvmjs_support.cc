// What @mlc-ai/web-runtime calls in the module beside TVM's own C API: memory for its arguments, JavaScript functions
// wrapped for TVM, and the text of the last error. Replaces TVM's file of this name, which also carries the RPC session
// of a remote test runner; a page has no use for that, and without it the library is smaller and links faster.
#define TVM_LOG_DEBUG 0
#define TVM_LOG_CUSTOMIZE 1
#define TVM_FFI_ALWAYS_LOG_BEFORE_THROW 1

#include <tvm/ffi/function.h>
#include <tvm/runtime/base.h>

#include <cstdint>
#include <string>

extern "C" {

// Provided by the page.
extern int TVMFFIWasmSafeCall(void* self, const TVMFFIAny* args, int32_t num_args, TVMFFIAny* result);
extern void TVMFFIWasmFunctionDeleter(void* self);

TVM_DLL void* TVMWasmAllocSpace(int bytes) {
  // Arguments are 64 bits wide, hence the alignment.
  return new int64_t[(static_cast<size_t>(bytes) + sizeof(int64_t) - 1) / sizeof(int64_t)];
}

TVM_DLL void TVMWasmFreeSpace(void* space) { delete[] static_cast<int64_t*>(space); }

TVM_DLL int TVMFFIWasmFunctionCreate(void* self, TVMFFIObjectHandle* out) {
  return TVMFFIFunctionCreate(self, TVMFFIWasmSafeCall, TVMFFIWasmFunctionDeleter, out);
}

TVM_DLL const char* TVMFFIWasmGetLastError() {
  static std::string message;
  message = tvm::ffi::details::MoveFromSafeCallRaised().what();
  return message.c_str();
}
}
