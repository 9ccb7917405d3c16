#pragma once
// Which incarnation of the database server something comes from. Positions in the log and ids of
// transactions mean something within one incarnation alone: after a failover the new server may use
// the same ones for others.

#include <cstdint>

namespace meridian {

// A hash of system identifier, timeline and start time. Zero: unknown.
using BootId = std::uint64_t;

// An answer, and the server that gave it.
template <class T>
struct OfBoot {
  T value{};
  BootId boot = 0;
};

}  // namespace meridian
