#pragma once
// Those who write, through the Postgres door and around it.

#include "test/checker/conductor.h"
#include "test/checker/latency.h"
#include "test/checker/orders.h"

#include <atomic>
#include <cstdint>
#include <map>
#include <string>

namespace checker {

struct WriterResult {
  Latencies commits;
  std::map<std::string, std::uint64_t> kinds;  // How many of each kind of commit.
  std::uint64_t errors = 0;
  std::string first_error;
};

// Changes the orders whose index falls to this writer until it is told to stop.
WriterResult run_writer(const Options& options,
                        Orders& orders,
                        Conductor& conductor,
                        unsigned number,
                        const std::atomic<bool>& stop);

// Changes what changes as a whole: truncates, detaches and attaches, alters, or updates a large
// table.
WriterResult run_whole_writer(const Options& options,
                              Orders& orders,
                              Conductor& conductor,
                              Kind kind,
                              const std::atomic<bool>& stop);

}  // namespace checker
