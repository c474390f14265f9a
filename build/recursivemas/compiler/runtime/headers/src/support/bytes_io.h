// Streams over memory. Stands in for a header that the apache-tvm wheel leaves out.
#pragma once

#include <tvm/ffi/error.h>
#include <tvm/ffi/string.h>
#include <tvm/support/io.h>

#include <algorithm>
#include <cstring>
#include <string>

namespace tvm {
namespace support {

// Reads from bytes that somebody else keeps alive.
class BytesInStream : public Stream {
 public:
  using Stream::Read;
  using Stream::Write;

  BytesInStream(const void* bytes, size_t count) : next_(static_cast<const char*>(bytes)), left_(count) {}
  explicit BytesInStream(const std::string& bytes) : BytesInStream(bytes.data(), bytes.size()) {}
  explicit BytesInStream(const ffi::Bytes& bytes) : BytesInStream(bytes.data(), bytes.size()) {}

  size_t Read(void* into, size_t bytes) override {
    const size_t taken = std::min(bytes, left_);
    if (taken > 0) std::memcpy(into, next_, taken);
    next_ += taken;
    left_ -= taken;
    return taken;
  }
  size_t Write(const void*, size_t) override { TVM_FFI_THROW(RuntimeError) << "this stream can only be read"; }

 private:
  const char* next_;
  size_t left_;
};

// Appends to a string that somebody else keeps alive.
class BytesOutStream : public Stream {
 public:
  using Stream::Read;
  using Stream::Write;

  explicit BytesOutStream(std::string* into) : into_(into) {}

  size_t Read(void*, size_t) override { TVM_FFI_THROW(RuntimeError) << "this stream can only be written"; }
  size_t Write(const void* from, size_t bytes) override {
    if (bytes > 0) into_->append(static_cast<const char*>(from), bytes);
    return bytes;
  }

 private:
  std::string* into_;
};

}  // namespace support
}  // namespace tvm
