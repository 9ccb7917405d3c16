#pragma once
// At rest every value that the cache has must be what its query gives: nothing would mend it later.

#include "test/checker/conductor.h"
#include "test/checker/orders.h"

#include <atomic>
#include <cstdint>
#include <string>

namespace checker {

struct Quiescence {
  std::uint64_t compared = 0;
  std::uint64_t poisoned = 0;
  std::uint64_t given_up = 0;  // Comparisons that never came about.
  std::string first_fault;
  std::string first_error;
};

// Lets all writers rest, reads every key through the door and every row past it, and lets them go
// on.
void compare_at_rest(const Options& options,
                     Orders& orders,
                     Conductor& conductor,
                     Quiescence& result);

// Commands on standard input, one a line, each answered by one line: `calm`, `wild`, `compare`,
// `stop`. Until the input ends or the check stops.
void take_commands(const Options& options,
                   Orders& orders,
                   Conductor& conductor,
                   Quiescence& result,
                   std::atomic<bool>& stop);

}  // namespace checker
