#pragma once
// Instants and durations. base/ has the types; only runtime/ reads a clock.

#include <chrono>
#include <cstdint>
#include <string>

namespace meridian {

using Duration = std::chrono::nanoseconds;

// A clock without now(): time comes from a Loop, so that simulation can be its source.
struct MonotonicClock {
  using duration = Duration;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<MonotonicClock>;
  static constexpr bool is_steady = true;
};
using Time = MonotonicClock::time_point;

// Wall-clock time in UTC, for tokens, certificates and the trail.
using WallTime = std::chrono::sys_time<std::chrono::microseconds>;

// "2026-11-21T08:15:30.123456Z" (RFC 3339).
std::string to_rfc3339(WallTime time);

// Accepts what to_rfc3339 prints, with or without the fraction. Zero time and false on anything
// else.
bool parse_rfc3339(std::string_view text, WallTime& time) noexcept;

// "250 ms", "5 m", "1.5 s": the largest unit that needs at most one decimal.
std::string to_text(Duration duration);

}  // namespace meridian
