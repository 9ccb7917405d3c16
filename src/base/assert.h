#pragma once
// Assertions for bugs in this program: on in every build, they end the process.
// Never for input, peers or disks; those are Errors (base/result.h).

namespace meridian {

[[noreturn]] void assert_failed(const char* condition, const char* file, int line) noexcept;

}  // namespace meridian

#define MERIDIAN_ASSERT(condition) \
  ((condition) ? static_cast<void>(0) : ::meridian::assert_failed(#condition, __FILE__, __LINE__))
