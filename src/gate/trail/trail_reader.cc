#include "gate/trail/trail_reader.h"

#include "gate/trail/disk.h"
#include "gate/trail/recovery.h"

#include <fmt/format.h>
#include <system_error>

namespace meridian::trail {
namespace {

namespace fs = std::filesystem;

// Each costs a descriptor or two and 256 KiB.
constexpr std::size_t sources_max = 512;

// Entries given between two looks at the other work of a loop.
constexpr int entries_at_once = 1'000;

}  // namespace

Result<TrailReader> TrailReader::open(const fs::path& folder, Filter filter) {
  std::error_code error;
  if (!fs::is_directory(folder, error)) {
    return fail(Errc::not_found, folder.string() + " is no folder: name the folder of a trail");
  }
  MERIDIAN_TRY(const auto names, list_names(folder));
  TrailReader reader(std::move(filter));
  for (const std::string& node : names) {
    if (!is_node_name(node) || !fs::is_directory(folder / node, error)) continue;
    if (!reader.filter_.node.empty() && reader.filter_.node != node) continue;
    MERIDIAN_TRY(const auto shards, list_segments(folder / node));
    for (const ShardSegments& shard : shards) {
      reader.sources_.emplace_back(folder / node, node, shard.shard);
    }
    if (reader.sources_.size() > sources_max) {
      return fail(Errc::exhausted,
                  fmt::format("{} holds more than {} shards: read one node at a time",
                              folder.string(),
                              sources_max));
    }
  }
  return reader;
}

Result<TrailReader::Source*> TrailReader::earliest() {
  Source* first = nullptr;
  for (Source& source : sources_) {
    if (!source.waiting) {
      MERIDIAN_TRY(source.waiting, source.reader.next());
    }
    if (!source.waiting) continue;
    if (!first || source.waiting->header.time < first->waiting->header.time) first = &source;
  }
  return first;
}

Result<std::optional<Entry>> TrailReader::next() {
  for (;;) {
    MERIDIAN_TRY(Source * source, earliest());
    if (!source) return std::optional<Entry>();
    const RecordView record = *source->waiting;
    source->waiting.reset();
    MERIDIAN_CHECK(source->visits.observe(record));
    const VisitFacts* const facts = source->visits.find(record.header.visit);
    if (!filter_.passes(record, facts)) continue;
    return Entry{.node = source->node,
                 .shard = source->reader.shard(),
                 .segment = source->reader.segment(),
                 .run = source->visits.run(),
                 .record = record,
                 .visit = facts};
  }
}

std::vector<std::string> TrailReader::broken() const {
  std::vector<std::string> lines;
  for (const Source& source : sources_) {
    for (const std::string& line : source.reader.broken()) {
      lines.push_back(source.node + "/" + line);
    }
  }
  return lines;
}

Async<Result<void>> follow(TrailReader& reader,
                           Loop& loop,
                           Duration interval,
                           FunctionRef<Result<void>(const Entry&)> see) {
  for (;;) {
    bool more = true;
    for (int i = 0; more && i < entries_at_once; ++i) {
      MERIDIAN_CO_TRY(const auto entry, reader.next());
      more = entry.has_value();
      if (entry) {
        MERIDIAN_CO_CHECK(see(*entry));
      }
    }
    const Wake wake = more ? co_await loop.yield() : co_await loop.sleep(interval);
    if (wake == Wake::cancelled) co_return fail(Errc::cancelled, "following the trail");
  }
}

}  // namespace meridian::trail
