#pragma once
// How many seeds a simulation takes, and from which on.

#include <cstdint>
#include <cstdlib>

namespace meridian::testing {

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define MERIDIAN_SIM_IS_SLOW
#endif
#endif

// A sanitizer makes a run five to twenty times slower; what it looks for does not depend on many
// seeds.
#ifdef MERIDIAN_SIM_IS_SLOW
constexpr std::uint64_t seeds_usual = 100;
#else
constexpr std::uint64_t seeds_usual = 1'000;
#endif

inline std::uint64_t number_from(const char* name, std::uint64_t usual) {
  const char* const text = std::getenv(name);
  return text ? std::strtoull(text, nullptr, 10) : usual;
}

// MERIDIAN_SIM_SEEDS widens the run; MERIDIAN_SIM_FIRST_SEED looks at one again. script/soak sets
// both.
inline std::uint64_t seeds_count() {
  return number_from("MERIDIAN_SIM_SEEDS", seeds_usual);
}
inline std::uint64_t first_seed() {
  return number_from("MERIDIAN_SIM_FIRST_SEED", 1);
}

}  // namespace meridian::testing
