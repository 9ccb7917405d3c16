// Checks that reads of views are never older than a commit that was acknowledged before they were
// asked for.
//
// Writers change orders through the Postgres door, each order's revision one by one; readers read
// the same orders through the Redis door. What a reader gets must not be older than the revision
// that was acknowledged when it asked, nor newer than what was written when it was answered. Some
// orders come and go: with an odd revision they do not exist. In a soak there are more kinds of
// view and of writer, and at rest every value is compared with the table.
//
// Uses libpq and hiredis, and nothing of Meridian's own, so that one mistake is not made twice.

#include "test/checker/latency.h"
#include "test/checker/options.h"
#include "test/checker/orders.h"
#include "test/checker/quiescence.h"
#include "test/checker/readers.h"
#include "test/checker/report.h"
#include "test/checker/writers.h"

#include <atomic>
#include <chrono>
#include <cstdio>
#include <exception>
#include <thread>
#include <vector>

int main(int argc, char** argv) {
  using namespace checker;
  try {
    const Options options = parse_options(argc, argv);
    Orders orders(options);
    orders.prepare();
    const Counts before = read_counts(options);

    std::atomic<bool> stop{false};
    Conductor conductor;
    Quiescence quiescence;
    const std::vector<Kind> wholes =
        options.soak ? std::vector{Kind::part, Kind::side, Kind::defined, Kind::bulk}
                     : std::vector<Kind>();
    std::vector<WriterResult> written(options.writers + wholes.size());
    std::vector<ReaderResult> read(options.readers);
    ProbeResult probed;
    {
      std::vector<std::jthread> threads;
      for (unsigned i = 0; i < options.writers; ++i) {
        threads.emplace_back(
            [&, i] { written[i] = run_writer(options, orders, conductor, i, stop); });
      }
      for (unsigned i = 0; i < options.readers; ++i) {
        threads.emplace_back([&, i] { read[i] = run_reader(options, orders, i, stop); });
      }
      for (std::size_t i = 0; i < wholes.size(); ++i) {
        threads.emplace_back([&, i] {
          written[options.writers + i] =
              run_whole_writer(options, orders, conductor, wholes[i], stop);
        });
      }
      if (options.soak) {
        threads.emplace_back([&] { take_commands(options, orders, conductor, quiescence, stop); });
      }
      threads.emplace_back([&] { probed = run_probe(options, orders, stop); });
      show_progress(options, orders, stop);
      stop = true;
    }
    if (options.soak) compare_at_rest(options, orders, conductor, quiescence);
    const Counts after = read_counts(options);
    return report(options, written, read, probed, quiescence, before, after);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "coherence_checker: %s\n", error.what());
    return 2;
  }
}
