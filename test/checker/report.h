#pragma once
// What the check found, and what the node says about itself.

#include "test/checker/quiescence.h"
#include "test/checker/readers.h"
#include "test/checker/writers.h"

#include <atomic>
#include <map>
#include <vector>

namespace checker {

// The node's own counts, from the HTTP door's /metrics.
struct Counts {
  double hits = 0;
  double misses = 0;
  std::map<double, double> feed_delay;  // How many commits were invalidated within so many seconds.
};

Counts read_counts(const Options& options);

// One line a second, until the time has passed or somebody stops it.
void show_progress(const Options& options, const Orders& orders, const std::atomic<bool>& stop);

// Prints it, and gives the program's exit code.
int report(const Options& options,
           const std::vector<WriterResult>& written,
           const std::vector<ReaderResult>& read,
           const ProbeResult& probed,
           const Quiescence& quiescence,
           const Counts& before,
           const Counts& after);

}  // namespace checker
