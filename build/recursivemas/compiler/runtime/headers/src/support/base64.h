// Streams whose other side is base64 text: tensors inside JSON. Stands in for a header that the apache-tvm wheel leaves
// out. A model library carries no such tensors, so both ends simply hold the whole text.
#pragma once

#include <tvm/ffi/extra/base64.h>
#include <tvm/support/io.h>

#include <algorithm>
#include <cstring>
#include <string>

namespace tvm {
namespace support {

// Encodes, when finished, what was written.
class Base64OutStream : public Stream {
 public:
  using Stream::Read;
  using Stream::Write;

  explicit Base64OutStream(Stream* text) : text_(text) {}

  size_t Read(void*, size_t) override { TVM_FFI_THROW(RuntimeError) << "this stream can only be written"; }
  size_t Write(const void* from, size_t bytes) override {
    if (bytes > 0) plain_.append(static_cast<const char*>(from), bytes);
    return bytes;
  }
  void Finish() {
    const ffi::String encoded = ffi::Base64Encode(ffi::Bytes(plain_));
    text_->Write(encoded.data(), encoded.size());
    plain_.clear();
  }

 private:
  Stream* text_;
  std::string plain_;
};

// Decodes everything that is left of the text once its position is initialised.
class Base64InStream : public Stream {
 public:
  using Stream::Read;
  using Stream::Write;

  explicit Base64InStream(Stream* text) : text_(text) {}

  void InitPosition() {
    std::string encoded;
    char letter;
    while (text_->Read(&letter, 1) == 1) {
      if (letter != '\n' && letter != '\r' && letter != ' ') encoded.push_back(letter);
    }
    plain_ = ffi::Base64Decode(ffi::String(encoded));
    read_ = 0;
  }
  size_t Read(void* into, size_t bytes) override {
    const size_t taken = std::min(bytes, plain_.size() - read_);
    if (taken > 0) std::memcpy(into, plain_.data() + read_, taken);
    read_ += taken;
    return taken;
  }
  size_t Write(const void*, size_t) override { TVM_FFI_THROW(RuntimeError) << "this stream can only be read"; }

 private:
  Stream* text_;
  ffi::Bytes plain_;
  size_t read_ = 0;
};

}  // namespace support
}  // namespace tvm
