// Comes before every source file of the runtime (emcc -include) and makes it small. TVM writes its messages with the
// standard streams, which bring locales and all their formats along, and gives every check the full signature of its
// function. Here a stream is a text that grows, and a failed check names its file and line.
#pragma once

#define TVM_LOG_DEBUG 0
#define TVM_LOG_CUSTOMIZE 1
#define TVM_FFI_USE_LIBBACKTRACE 0
#define TVM_FFI_ALWAYS_LOG_BEFORE_THROW 1

// The standard library's own headers must see the standard names.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bitset>
#include <chrono>
#include <cmath>
#include <complex>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <fstream>
#include <functional>
#include <future>
#include <iomanip>
#include <iostream>
#include <istream>
#include <iterator>
#include <limits>
#include <list>
#include <locale>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <optional>
#include <ostream>
#include <queue>
#include <random>
#include <set>
#include <sstream>
#include <stack>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

#define RECURSIVEMAS_OUTLINE __attribute__((noinline))

namespace recursivemas {

// What TVM's sources use of std::ostream. Numbers are decimal and have no width, whatever a source asks for.
class TextStream {
 public:
  enum Direction { beg, cur, end };

  TextStream() = default;
  explicit TextStream(std::string text) : text_(std::move(text)) {}

  RECURSIVEMAS_OUTLINE TextStream& write(const char* data, size_t size) {
    text_.append(data, size);
    return *this;
  }
  RECURSIVEMAS_OUTLINE TextStream& operator<<(const char* text) { return write(text, std::strlen(text)); }
  TextStream& operator<<(const std::string& text) { return write(text.data(), text.size()); }
  TextStream& operator<<(std::string_view text) { return write(text.data(), text.size()); }
  TextStream& operator<<(char c) { return write(&c, 1); }
  TextStream& operator<<(signed char c) { return *this << static_cast<char>(c); }
  TextStream& operator<<(unsigned char c) { return *this << static_cast<char>(c); }
  TextStream& operator<<(bool value) { return *this << (value ? '1' : '0'); }
  TextStream& operator<<(int value) { return *this << static_cast<long long>(value); }
  TextStream& operator<<(unsigned value) { return *this << static_cast<unsigned long long>(value); }
  TextStream& operator<<(long value) { return *this << static_cast<long long>(value); }
  TextStream& operator<<(unsigned long value) { return *this << static_cast<unsigned long long>(value); }
  RECURSIVEMAS_OUTLINE TextStream& operator<<(long long value) { return *this << std::to_string(value); }
  RECURSIVEMAS_OUTLINE TextStream& operator<<(unsigned long long value) { return *this << std::to_string(value); }
  RECURSIVEMAS_OUTLINE TextStream& operator<<(double value) {
    char text[32];
    return write(text, std::snprintf(text, sizeof(text), "%.17g", value));
  }
  TextStream& operator<<(const void* value) { return *this << reinterpret_cast<unsigned long>(value); }
  TextStream& operator<<(std::nullptr_t) { return *this << "nullptr"; }
  TextStream& operator<<(TextStream& (*manipulate)(TextStream&)) { return manipulate(*this); }
  TextStream& operator<<(std::ios_base& (*)(std::ios_base&)) { return *this; }
  TextStream& operator<<(decltype(std::setw(0))) { return *this; }
  TextStream& operator<<(decltype(std::setfill('0'))) { return *this; }
  TextStream& operator<<(decltype(std::setprecision(0))) { return *this; }

  template <typename... Ignored>
  void imbue(Ignored&&...) {}
  template <typename... Ignored>
  void unsetf(Ignored&&...) {}
  template <typename... Ignored>
  void fill(Ignored&&...) {}

  std::string str() const { return text_; }
  void str(std::string text) { text_ = std::move(text); }
  TextStream& flush() { return *this; }
  // TVM goes back over a last comma.
  TextStream& seekp(int offset, Direction) {
    text_.resize(text_.size() + offset);
    return *this;
  }

 private:
  std::string text_;
};

inline TextStream& EndLine(TextStream& stream) { return stream << '\n'; }

// Its text goes to the console.
class Console : public TextStream {
 public:
  explicit Console(int file) : file_(file) {}
  RECURSIVEMAS_OUTLINE ~Console() {
    std::string text = str();
    if (::write(file_, text.data(), text.size()) < 0) std::abort();
  }

 private:
  int file_;
};

}  // namespace recursivemas

// TVM qualifies these names with std.
namespace std {
using recursivemas_stream = recursivemas::TextStream;
inline recursivemas::Console recursivemas_cerr() { return recursivemas::Console(2); }
inline recursivemas::Console recursivemas_cout() { return recursivemas::Console(1); }
inline recursivemas::TextStream& recursivemas_endl(recursivemas::TextStream& stream) {
  return recursivemas::EndLine(stream);
}
}  // namespace std
#define ostream recursivemas_stream
#define ostringstream recursivemas_stream
#define stringstream recursivemas_stream
#define cerr recursivemas_cerr()
#define cout recursivemas_cout()
#define endl recursivemas_endl

#include <tvm/ffi/error.h>

namespace recursivemas {

// A failed check. Its arguments are constants, so that a check costs few instructions where it stands.
class Failure {
 public:
  RECURSIVEMAS_OUTLINE Failure(const char* kind, const char* file, int line) : kind_(kind), file_(file), line_(line) {}
  [[noreturn]] RECURSIVEMAS_OUTLINE ~Failure() noexcept(false) {
    TextStream at;
    at << "  File \"" << file_ << "\", line " << line_ << '\n';
    tvm::ffi::Error error(kind_, stream_.str(), at.str());
    std::cerr << error.FullMessage();
    throw error;
  }
  TextStream& stream() { return stream_; }

 private:
  const char* kind_;
  const char* file_;
  int line_;
  TextStream stream_;
};

}  // namespace recursivemas

#undef TVM_FFI_THROW
#define TVM_FFI_THROW(ErrorKind) ::recursivemas::Failure(#ErrorKind, __FILE__, __LINE__).stream()
#undef TVM_FFI_LOG_AND_THROW
#define TVM_FFI_LOG_AND_THROW(ErrorKind) TVM_FFI_THROW(ErrorKind)
