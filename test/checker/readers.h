#pragma once
// Those who read, through the Redis door.

#include "test/checker/latency.h"
#include "test/checker/orders.h"

#include <atomic>
#include <cstdint>
#include <string>

namespace checker {

struct ReaderResult {
  std::uint64_t reads = 0;
  std::uint64_t errors = 0;
  std::string first_error;
  std::uint64_t stale = 0;
  std::string first_fault;
};

// Reads in pipelines until it is told to stop.
ReaderResult run_reader(const Options& options,
                        Orders& orders,
                        unsigned number,
                        const std::atomic<bool>& stop);

struct ProbeResult {
  ReaderResult result;
  Latencies hits;
  Latencies misses;
};

// Measures one request at a time: an order that was just forgotten, then the same again.
ProbeResult run_probe(const Options& options, Orders& orders, const std::atomic<bool>& stop);

}  // namespace checker
