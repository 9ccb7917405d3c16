#pragma once
// Those who write, through the Postgres door.

#include "test/checker/latency.h"
#include "test/checker/orders.h"

#include <atomic>
#include <cstdint>
#include <string>

namespace checker {

struct WriterResult {
  Latencies commits;
  std::uint64_t errors = 0;
  std::string first_error;
};

// Changes the orders whose index falls to this writer until it is told to stop.
WriterResult run_writer(const Options& options,
                        Orders& orders,
                        unsigned number,
                        const std::atomic<bool>& stop);

}  // namespace checker
