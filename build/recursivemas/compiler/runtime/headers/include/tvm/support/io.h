// Typed reads and writes over a byte stream: the interface through which TVM's runtime loads what the compiler saved.
// Stands in for a header that the apache-tvm wheel leaves out; a type becomes readable by specialising Serializer.
#pragma once

#include <cstddef>

namespace tvm {
namespace support {

class Stream;

template <typename T, typename Enable = void>
struct Serializer {
  static constexpr bool enabled = false;
};

class Stream {
 public:
  virtual ~Stream() = default;

  // Both return how many bytes were moved.
  virtual size_t Read(void* into, size_t bytes) = 0;
  virtual size_t Write(const void* from, size_t bytes) = 0;

  template <typename T>
  bool Read(T* value) {
    static_assert(Serializer<T>::enabled, "this type cannot be read from a stream");
    return Serializer<T>::Read(this, value);
  }

  template <typename T>
  void Write(const T& value) {
    static_assert(Serializer<T>::enabled, "this type cannot be written to a stream");
    Serializer<T>::Write(this, value);
  }

  template <typename T>
  bool ReadArray(T* values, size_t count) {
    for (size_t i = 0; i < count; ++i) {
      if (!Read(values + i)) return false;
    }
    return true;
  }

  template <typename T>
  void WriteArray(const T* values, size_t count) {
    for (size_t i = 0; i < count; ++i) Write(values[i]);
  }
};

}  // namespace support
}  // namespace tvm
