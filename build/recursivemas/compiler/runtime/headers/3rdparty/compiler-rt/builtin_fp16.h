// Half precision in software, as far as the runtime's sorting needs it: widening to float32.
// Stands in for a header that the apache-tvm wheel leaves out and keeps the name under which the sources call it.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

template <typename Source, typename SourceBits, int kSourceDigits, typename Target, typename TargetBits,
          int kTargetDigits>
static inline Target __extendXfYf2__(Source half) {
  static_assert(sizeof(Source) == 2 && kSourceDigits == 10, "only IEEE half precision is widened");
  const int exponent = (half >> 10) & 0x1f;
  const int fraction = half & 0x3ff;
  Target magnitude;
  if (exponent == 0x1f) {
    magnitude = fraction != 0 ? std::numeric_limits<Target>::quiet_NaN() : std::numeric_limits<Target>::infinity();
  } else if (exponent == 0) {
    magnitude = std::ldexp(static_cast<Target>(fraction), -24);
  } else {
    magnitude = std::ldexp(static_cast<Target>(fraction + 0x400), exponent - 25);
  }
  return (half & 0x8000) != 0 ? -magnitude : magnitude;
}
