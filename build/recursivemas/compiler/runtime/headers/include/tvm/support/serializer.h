// The byte format of a saved TVM module: little-endian scalars, and a 64-bit count before every string and container.
// Stands in for a header that the apache-tvm wheel leaves out. WebAssembly is little-endian, so scalars are copied.
#pragma once

#include <dlpack/dlpack.h>
#include <tvm/ffi/container/array.h>
#include <tvm/ffi/container/map.h>
#include <tvm/ffi/string.h>
#include <tvm/support/io.h>

#include <cstdint>
#include <string>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

namespace tvm {
namespace support {

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "this header copies scalars as they lie in memory and so needs a little-endian target"
#endif

template <typename T>
struct Serializer<T, std::enable_if_t<std::is_arithmetic<T>::value || std::is_enum<T>::value>> {
  static constexpr bool enabled = true;
  static bool Read(Stream* stream, T* value) { return stream->Read(value, sizeof(T)) == sizeof(T); }
  static void Write(Stream* stream, const T& value) { stream->Write(&value, sizeof(T)); }
};

template <>
struct Serializer<DLDataType> {
  static constexpr bool enabled = true;
  static bool Read(Stream* stream, DLDataType* type) {
    return stream->Read(&type->code) && stream->Read(&type->bits) && stream->Read(&type->lanes);
  }
  static void Write(Stream* stream, const DLDataType& type) {
    stream->Write(type.code);
    stream->Write(type.bits);
    stream->Write(type.lanes);
  }
};

template <>
struct Serializer<DLDevice> {
  static constexpr bool enabled = true;
  static bool Read(Stream* stream, DLDevice* device) {
    int32_t kind = 0;
    if (!stream->Read(&kind) || !stream->Read(&device->device_id)) return false;
    device->device_type = static_cast<DLDeviceType>(kind);
    return true;
  }
  static void Write(Stream* stream, const DLDevice& device) {
    stream->Write(static_cast<int32_t>(device.device_type));
    stream->Write(device.device_id);
  }
};

template <typename First, typename Second>
struct Serializer<std::pair<First, Second>> {
  static constexpr bool enabled = true;
  static bool Read(Stream* stream, std::pair<First, Second>* pair) {
    return stream->Read(&pair->first) && stream->Read(&pair->second);
  }
  static void Write(Stream* stream, const std::pair<First, Second>& pair) {
    stream->Write(pair.first);
    stream->Write(pair.second);
  }
};

template <>
struct Serializer<std::string> {
  static constexpr bool enabled = true;
  static bool Read(Stream* stream, std::string* text) {
    uint64_t count = 0;
    if (!stream->Read(&count)) return false;
    text->resize(static_cast<size_t>(count));
    return stream->Read(&(*text)[0], text->size()) == text->size();
  }
  static void Write(Stream* stream, const std::string& text) {
    stream->Write(static_cast<uint64_t>(text.size()));
    stream->Write(text.data(), text.size());
  }
};

// ffi::String and ffi::Bytes cannot be filled in place, so they pass through std::string, whose bytes are the same.
template <typename Text>
struct ThroughStdString {
  static constexpr bool enabled = true;
  static bool Read(Stream* stream, Text* text) {
    std::string plain;
    if (!stream->Read(&plain)) return false;
    *text = Text(std::move(plain));
    return true;
  }
  static void Write(Stream* stream, const Text& text) { stream->Write(std::string(text.data(), text.size())); }
};
template <>
struct Serializer<ffi::String> : ThroughStdString<ffi::String> {};
template <>
struct Serializer<ffi::Bytes> : ThroughStdString<ffi::Bytes> {};

// A container is its count and then its items, in order of iteration.
template <typename Container, typename Item>
struct Counted {
  static constexpr bool enabled = true;
  static void Write(Stream* stream, const Container& items) {
    stream->Write(static_cast<uint64_t>(items.size()));
    for (const auto& item : items) stream->Write(Item(item));
  }
  template <typename Append>
  static bool ReadEach(Stream* stream, Append append) {
    uint64_t count = 0;
    if (!stream->Read(&count)) return false;
    for (; count != 0; --count) {
      Item item;
      if (!stream->Read(&item)) return false;
      append(std::move(item));
    }
    return true;
  }
};

template <typename Item>
struct Serializer<std::vector<Item>> : Counted<std::vector<Item>, Item> {
  static bool Read(Stream* stream, std::vector<Item>* items) {
    items->clear();
    return Serializer::ReadEach(stream, [items](Item item) { items->push_back(std::move(item)); });
  }
};

template <typename Item>
struct Serializer<ffi::Array<Item>> : Counted<ffi::Array<Item>, Item> {
  static bool Read(Stream* stream, ffi::Array<Item>* items) {
    *items = ffi::Array<Item>();
    return Serializer::ReadEach(stream, [items](Item item) { items->push_back(std::move(item)); });
  }
};

template <typename Key, typename Value>
struct Serializer<std::unordered_map<Key, Value>> : Counted<std::unordered_map<Key, Value>, std::pair<Key, Value>> {
  static bool Read(Stream* stream, std::unordered_map<Key, Value>* map) {
    map->clear();
    return Serializer::ReadEach(stream, [map](std::pair<Key, Value> item) { map->insert(std::move(item)); });
  }
};

template <typename Key, typename Value>
struct Serializer<ffi::Map<Key, Value>> : Counted<ffi::Map<Key, Value>, std::pair<Key, Value>> {
  static bool Read(Stream* stream, ffi::Map<Key, Value>* map) {
    *map = ffi::Map<Key, Value>();
    return Serializer::ReadEach(
        stream, [map](std::pair<Key, Value> item) { map->Set(std::move(item.first), std::move(item.second)); });
  }
};

}  // namespace support
}  // namespace tvm
