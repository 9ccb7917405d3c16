#pragma once
// The story of one request over all doors, shards and nodes.

#include "base/ids.h"
#include "base/result.h"
#include "gate/trail/record.h"

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace meridian::trail {

struct TraceSettings {
  // Reads of a key that the request made old are part of its story for so long after that.
  Duration reads_window = std::chrono::seconds(5);

  // Steps and visits of one story. A request id that everybody sends belongs to nobody.
  std::size_t steps_max = 10'000;
};

// One thing that happened.
struct TraceStep {
  WallTime time{};
  std::string node{};
  std::uint32_t shard = 0;
  std::uint64_t sequence = 0;
  VisitId visit{};  // Zero: none.
  std::string door{};
  RecordKind kind{};
  std::string what{};  // "admitted as checkout", "statement 3", "order:1 is old".
  std::string detail{};
  bool follows = false;  // Another request's doing: a read of what this one changed.
};

struct Story {
  RequestId request{};
  std::vector<TraceStep> steps{};     // In the order of time.
  bool cut = false;                   // There were more than steps_max.
  std::vector<std::string> broken{};  // What could not be read, a line each.
};

// Reads the whole trail twice, and once more where ingest committed a message of the request
// together with those of others: what came of that transaction is part of the story. A request that
// nobody knows has no steps. Errors: as TrailReader.
Result<Story> trace(const std::filesystem::path& folder, RequestId request, TraceSettings settings);

// Columns for a terminal.
std::string to_text(const Story& story);
// One JSON object.
std::string to_json(const Story& story);

}  // namespace meridian::trail
