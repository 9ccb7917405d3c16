#pragma once
// Reads a whole trail, of one node or many, live or copied, in the order of time.
//
// Records of one shard come in their order; shards are merged by the time of their next records.
// Reading needs no key and changes nothing. It does not verify: see gate/trail/verify.h.

#include "base/function_ref.h"
#include "base/result.h"
#include "gate/trail/filter.h"
#include "gate/trail/shard_reader.h"
#include "gate/trail/visits.h"
#include "runtime/async.h"
#include "runtime/loop.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace meridian::trail {

// A record and what is known around it. Valid until the reader goes on.
struct Entry {
  std::string_view node{};
  std::uint32_t shard = 0;
  std::uint64_t segment = 0;
  std::uint32_t run = 0;  // See Visits::run().
  RecordView record{};
  const VisitFacts* visit = nullptr;  // What is known of its visit; null: nothing.
};

class TrailReader {
 public:
  // Nodes and shards are those that are there now. A folder without a trail reads as empty. Errors:
  // not_found (no such folder), exhausted (too many shards to read at once), unavailable.
  static Result<TrailReader> open(const std::filesystem::path& folder, Filter filter = {});

  // The next record that passes; none at the end, where a later call may find more. Errors:
  // exhausted (Visits), unavailable.
  Result<std::optional<Entry>> next();

  // What could not be read so far, a line each.
  std::vector<std::string> broken() const;

 private:
  struct Source {
    Source(std::filesystem::path folder, std::string node_name, std::uint32_t shard)
        : reader(std::move(folder), shard), node(std::move(node_name)) {}

    ShardReader reader;
    std::string node;
    std::optional<RecordView> waiting;  // Read and not given yet.
    Visits visits;
  };

  explicit TrailReader(Filter filter) : filter_(std::move(filter)) {}

  Result<Source*> earliest();

  Filter filter_;
  std::vector<Source> sources_;
};

// Gives `see` every entry there is, then looks for more each `interval`, until the fibre is
// cancelled or `see` fails. Reading blocks the loop for moments: for command lines. `reader` and
// what `see` refers to must outlive the call.
Async<Result<void>> follow(TrailReader& reader,
                           Loop& loop,
                           Duration interval,
                           FunctionRef<Result<void>(const Entry&)> see);

}  // namespace meridian::trail
