#include "gate/trail/trace.h"

#include "base/escape.h"
#include "gate/trail/codec.h"
#include "gate/trail/json.h"
#include "gate/trail/trail_reader.h"

#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

namespace meridian::trail {
namespace {

constexpr std::uint64_t invalidated_shown_max = 6;  // Keys on one line.
constexpr std::size_t requests_shown_max = 3;       // Likewise, of a batch.

// Makes a visit's number unique over nodes and runs of them.
struct VisitKey {
  std::string node;
  std::uint32_t shard = 0;
  std::uint32_t run = 0;
  VisitId visit;
  friend auto operator<=>(const VisitKey&, const VisitKey&) = default;
};

struct StatementKey {
  VisitKey visit;
  std::uint32_t ordinal = 0;
  friend auto operator<=>(const StatementKey&, const StatementKey&) = default;
};

VisitKey key_of(const Entry& entry, VisitId visit) {
  return {.node = std::string(entry.node), .shard = entry.shard, .run = entry.run, .visit = visit};
}

std::string joined(std::string text, std::string_view more) {
  if (!text.empty() && !more.empty()) text += ", ";
  text += more;
  return text;
}

// "name value" when there is a value.
std::string named(std::string_view name, const Text& value) {
  return value.empty() ? std::string() : fmt::format("{} {}", name, printable(value.bytes));
}

class Tracer {
 public:
  Tracer(std::filesystem::path folder, RequestId request, TraceSettings settings)
      : folder_(std::move(folder)), settings_(settings) {
    story_.request = request;
    hex_ = request.to_hex();
  }

  Result<Story> run() {
    MERIDIAN_CHECK(each_entry([this](const Entry& entry) { gather(entry); }));
    if (!transactions_.empty()) {
      // What they did may stand on the trail before it is known that they are ours.
      MERIDIAN_CHECK(each_entry([this](const Entry& entry) { gather(entry); }));
    }
    MERIDIAN_CHECK(each_entry([this](const Entry& entry) { tell(entry); }));
    std::ranges::sort(story_.steps, {}, [](const TraceStep& step) {
      return std::tie(step.time, step.node, step.shard, step.sequence);
    });
    return std::move(story_);
  }

 private:
  // All that the first reading has seen: what is written meanwhile would be told without what it
  // belongs to.
  Result<void> each_entry(FunctionRef<void(const Entry&)> see) {
    const bool first = ends_.empty();
    MERIDIAN_TRY(TrailReader reader, TrailReader::open(folder_));
    for (;;) {
      MERIDIAN_TRY(const auto entry, reader.next());
      if (!entry) break;
      std::uint64_t& end = ends_[{std::string(entry->node), entry->shard}];
      if (first) end = std::max(end, entry->record.header.sequence);
      if (entry->record.header.sequence <= end) see(*entry);
    }
    story_.broken = reader.broken();
    return {};
  }

  bool ours(const Entry& entry) const {
    const RequestId request = entry.record.header.request;
    return request == story_.request || transactions_.contains(request);
  }

  bool names_us(const ShapeText& requests) const { return requests.bytes.contains(hex_); }

  // The first reading: which visits, statements and keys the story is about, and which transactions
  // of ingest.
  void gather(const Entry& entry) {
    const RecordHeader& header = entry.record.header;
    if (header.kind == RecordKind::ingest_batch) {
      const auto batch = decode<IngestBatch>(entry.record.fields());
      if (!batch || !names_us(batch->requests) || header.request == story_.request) return;
      if (!header.request.nil() && transactions_.size() < settings_.steps_max) {
        transactions_.insert(header.request);
      }
      return;
    }
    if (header.kind == RecordKind::publications && !ours(entry)) {
      const auto publications = decode<Publications>(entry.record.fields());
      if (publications && names_us(publications->requests) &&
          visits_.size() < settings_.steps_max) {
        visits_.insert(key_of(entry, header.visit));
      }
      return;
    }
    if (!ours(entry)) return;
    if (header.visit != VisitId() && visits_.size() < settings_.steps_max) {
      visits_.insert(key_of(entry, header.visit));
    }
    if (header.kind == RecordKind::statement) {
      const auto statement = decode<Statement>(entry.record.fields());
      if (!statement || statements_.size() >= settings_.steps_max) return;
      const VisitKey visit = key_of(entry, header.visit);
      statements_.emplace(StatementKey{visit, statement->ordinal}, std::nullopt);
      shapes_.emplace(statement->fingerprint.value(), std::string());
    }
    if (header.kind == RecordKind::invalidation) {
      const auto invalidation = decode<Invalidation>(entry.record.fields());
      if (!invalidation) return;
      for (const Invalidated& each : invalidation->entries) {
        if (old_.size() >= settings_.steps_max) return;
        old_.emplace(std::pair(each.view.bytes, each.key.bytes), header.time);
      }
    }
  }

  // The second: its steps.
  void tell(const Entry& entry) {
    const RecordHeader& header = entry.record.header;
    with_record_of(header.kind, [&](auto empty) {
      const auto fields = decode<decltype(empty)>(entry.record.fields());
      if (fields) tell(entry, *fields);
    });
  }

  bool of_our_visit(const Entry& entry) const {
    return visits_.contains(key_of(entry, entry.record.header.visit));
  }

  TraceStep* add(const Entry& entry, std::string what, std::string detail) {
    if (story_.steps.size() >= settings_.steps_max) {
      story_.cut = true;
      return nullptr;
    }
    const RecordHeader& header = entry.record.header;
    return &story_.steps.emplace_back(
        TraceStep{.time = header.time,
                  .node = std::string(entry.node),
                  .shard = entry.shard,
                  .sequence = header.sequence,
                  .visit = header.visit,
                  .door = entry.visit ? entry.visit->door : std::string(),
                  .kind = header.kind,
                  .what = std::move(what),
                  .detail = std::move(detail)});
  }

  void tell(const Entry& entry, const VisitOpened& opened) {
    if (!ours(entry) && !of_our_visit(entry)) return;
    add(entry,
        "visit opened",
        fmt::format("from {}{} over {}",
                    printable(opened.address.bytes),
                    opened.port == 0 ? "" : fmt::format(" port {}", opened.port),
                    printable(opened.transport.bytes)));
  }

  void tell(const Entry& entry, const Admitted& admitted) {
    if (!ours(entry) && !of_our_visit(entry)) return;
    const RecordHeader& header = entry.record.header;
    if (header.visit != VisitId()) let_in_.emplace(key_of(entry, header.visit), header.time);
    add(entry,
        "admitted as " + printable(admitted.role.bytes),
        joined(joined(named("subject", admitted.subject), named("issuer", admitted.issuer)),
               joined(named("by binding", admitted.binding), named("token", admitted.token_id))));
  }

  void tell(const Entry& entry, const Refused& refused) {
    if (!ours(entry) && !of_our_visit(entry)) return;
    TraceStep* const step =
        add(entry,
            "refused by rule " + printable(refused.rule.bytes),
            joined(printable(refused.detail.bytes),
                   joined(named("from", refused.address), named("subject", refused.subject))));
    if (step && step->door.empty()) step->door = printable(refused.door.bytes);
  }

  void tell(const Entry& entry, const VisitEnded& ended) {
    if (!ours(entry) && !of_our_visit(entry)) return;
    add(entry,
        "visit ended",
        fmt::format("{}, after {}: {} statements, {} commands, {} bytes in, {} out",
                    printable(ended.reason.bytes),
                    meridian::to_text(ended.duration),
                    ended.statements_count,
                    ended.commands_count,
                    ended.bytes_in,
                    ended.bytes_out));
  }

  void tell(const Entry& /*entry*/, const StatementShape& shape) {
    const auto wanted = shapes_.find(shape.fingerprint.value());
    if (wanted != shapes_.end() && wanted->second.empty()) wanted->second = shape.text.bytes;
  }

  void tell(const Entry& entry, const Statement& statement) {
    if (!ours(entry)) return;
    const auto shape = shapes_.find(statement.fingerprint.value());
    const bool known = shape != shapes_.end() && !shape->second.empty();
    std::string detail = known ? printable(shape->second)
                               : fmt::format("fingerprint {:016x}", statement.fingerprint.value());
    if (!add(entry, fmt::format("statement {}", statement.ordinal), std::move(detail))) return;
    const StatementKey key{key_of(entry, entry.record.header.visit), statement.ordinal};
    if (const auto found = statements_.find(key); found != statements_.end()) {
      found->second = story_.steps.size() - 1;
    }
  }

  // What came of a statement goes to the statement's own step.
  void tell(const Entry& entry, const StatementOutcomes& batch) {
    for (const StatementOutcome& outcome : batch.outcomes) {
      const auto found = statements_.find({key_of(entry, outcome.visit), outcome.ordinal});
      if (found == statements_.end() || !found->second) continue;
      story_.steps[*found->second].detail += outcome.sqlstate.success()
                                                 ? fmt::format(": {} row{} in {}",
                                                               outcome.rows_count,
                                                               outcome.rows_count == 1 ? "" : "s",
                                                               meridian::to_text(outcome.duration))
                                                 : fmt::format(": failed with {} after {}",
                                                               printable(outcome.sqlstate.text()),
                                                               meridian::to_text(outcome.duration));
    }
  }

  void tell(const Entry& entry, const KeyReads& reads) {
    if (ours(entry)) {
      add(entry,
          fmt::format("read {}", printable(reads.view.bytes)),
          fmt::format(
              "{} reads, {} hits: {}", reads.reads_count, reads.hits_count, keys_of(reads)));
      return;
    }
    const std::string keys = old_keys_of(reads, entry.record.header.time);
    if (keys.empty()) return;
    const std::string reader = entry.visit ? fmt::format("by {}", printable(entry.visit->role))
                                           : std::string("by a visit");
    TraceStep* const step =
        add(entry,
            "read afterwards: " + keys,
            fmt::format("{} in the {} before", reader, meridian::to_text(reads.interval)));
    if (step) step->follows = true;
  }

  static std::string keys_of(const KeyReads& reads) {
    std::string keys;
    for (const KeyCount& each : reads.keys) {
      keys = joined(std::move(keys), printable(each.key.bytes));
    }
    if (reads.other_reads_count > 0) {
      keys = joined(std::move(keys), fmt::format("{} reads of others", reads.other_reads_count));
    }
    return keys;
  }

  // Those of the keys that this request made old shortly before.
  std::string old_keys_of(const KeyReads& reads, WallTime time) const {
    std::string keys;
    for (const KeyCount& each : reads.keys) {
      if (made_old(reads.view, each.key, time) || made_old(reads.view, {}, time)) {
        keys = joined(std::move(keys), printable(each.key.bytes));
      }
    }
    return keys;
  }

  // An empty key stands for all of the view.
  bool made_old(const Text& view, const Text& key, WallTime time) const {
    const auto [first, last] = old_.equal_range({std::string(view.bytes), std::string(key.bytes)});
    return std::any_of(first, last, [&](const auto& value) {
      return time >= value.second && time - value.second <= settings_.reads_window;
    });
  }

  static std::string shown(const WrittenKey& write) {
    return printable(write.command.bytes) + " " + printable(write.key.bytes);
  }

  void tell(const Entry& entry, const KeyWrite& write) {
    if (!ours(entry)) return;
    std::string further;
    for (const WrittenKey& each : write.further) {
      further = joined(std::move(further), shown(each));
    }
    add(entry,
        shown({.command = write.command, .key = write.key}),
        further.empty() ? further : "then " + further);
  }

  void tell(const Entry& entry, const Subscription& subscription) {
    if (!ours(entry)) return;
    add(entry,
        "subscribe " + printable(subscription.pattern.bytes),
        named("in queue group", subscription.queue));
  }

  // Where it began: what came of a message stands behind it.
  void tell(const Entry& entry, const Publications& publications) {
    const bool named = names_us(publications.requests);
    if (!ours(entry) && !named) return;
    std::string subjects;
    for (const SubjectCount& each : publications.subjects)
      subjects = joined(std::move(subjects), printable(each.key.bytes));
    if (publications.other_messages_count > 0) {
      subjects = joined(std::move(subjects),
                        fmt::format("{} to others", publications.other_messages_count));
    }
    if (publications.messages_count > 1) {
      subjects += fmt::format(" in {}", meridian::to_text(publications.interval));
    }
    const bool visits_own = entry.record.header.request == story_.request;
    if (!visits_own) {
      subjects = joined(std::move(subjects),
                        fmt::format("counted with the visit, request {}",
                                    entry.record.header.request.to_string()));
    }
    TraceStep* const step =
        add(entry,
            fmt::format("published {}{} message{}",
                        !visits_own && publications.messages_count > 1 ? "one or more of " : "",
                        publications.messages_count,
                        publications.messages_count == 1 ? "" : "s"),
            std::move(subjects));
    if (!step) return;
    step->time -= std::chrono::duration_cast<WallTime::duration>(publications.interval);
    // By another clock than the one that says how long it was.
    const auto let_in = let_in_.find(key_of(entry, entry.record.header.visit));
    if (let_in != let_in_.end()) step->time = std::max(step->time, let_in->second);
  }

  void tell(const Entry& entry, const OutboxPublication& publication) {
    if (!ours(entry)) return;
    add(entry,
        fmt::format("outbox published {} message{} as {}",
                    publication.messages_count,
                    publication.messages_count == 1 ? "" : "s",
                    printable(publication.subject.bytes)),
        fmt::format("into {}, from number {} on",
                    printable(publication.stream.bytes),
                    publication.first_number));
  }

  void tell(const Entry& entry, const IngestBatch& batch) {
    if (!ours(entry) && !names_us(batch.requests)) return;
    std::string counts =
        fmt::format("{} row{}", batch.rows_count, batch.rows_count == 1 ? "" : "s");
    if (batch.duplicates_count > 0) {
      counts += fmt::format(", {} duplicates", batch.duplicates_count);
    }
    if (batch.dead_count > 0) counts += fmt::format(", {} dead letters", batch.dead_count);
    std::string others;
    if (!names_us(batch.requests)) others = requests_of(batch);
    TraceStep* const step = add(
        entry,
        fmt::format("{} ingest {}",
                    batch.cause.empty() ? "committed by" : printable(batch.cause.bytes) + " by",
                    printable(batch.rule.bytes)),
        joined(
            fmt::format("batch {}.{} of stream {}, message{}: {} in {}{}",
                        batch.epoch,
                        batch.number,
                        printable(batch.stream.bytes),
                        batch.first_sequence == batch.last_sequence
                            ? fmt::format(" {}", batch.first_sequence)
                            : fmt::format("s {} to {}", batch.first_sequence, batch.last_sequence),
                        counts,
                        meridian::to_text(batch.duration),
                        batch.cause.empty() ? ", then acknowledged" : ""),
            others));
    // When its transaction began, as a statement's step: what came of it stands behind it.
    if (step) step->time -= std::chrono::duration_cast<WallTime::duration>(batch.duration);
  }

  static std::string requests_of(const IngestBatch& batch) {
    std::string shown;
    std::size_t count = 0;
    for (std::string_view rest = batch.requests.bytes; !rest.empty(); ++count) {
      const std::string_view each = rest.substr(0, rest.find(' '));
      if (count < requests_shown_max) shown = joined(std::move(shown), printable(each));
      rest.remove_prefix(std::min(each.size() + 1, rest.size()));
    }
    if (count > requests_shown_max)
      shown += fmt::format(" and {} more", count - requests_shown_max);
    return shown.empty() ? shown : "of requests " + shown;
  }

  void tell(const Entry& entry, const Denied& denied) {
    if (!ours(entry)) return;
    add(entry,
        fmt::format(
            "denied: {} {}", printable(denied.action.bytes), printable(denied.resource.bytes)),
        named("by rule", denied.rule));
  }

  void tell(const Entry& entry, const Invalidation& invalidation) {
    if (!ours(entry)) return;
    std::string what;
    std::uint64_t shown = 0;
    for (const Invalidated& each : invalidation.entries) {
      if (shown == invalidated_shown_max) break;
      ++shown;
      what = joined(
          std::move(what),
          each.key.empty() ? "all of " + printable(each.view.bytes) : printable(each.key.bytes));
    }
    if (invalidation.entries_count > shown) {
      what += fmt::format(" and {} more", invalidation.entries_count - shown);
    }
    add(entry,
        "invalidated " + what,
        fmt::format("commit at {:X}/{:X}, transaction {}",
                    invalidation.position.value() >> 32,
                    invalidation.position.value() & 0xffffffff,
                    invalidation.transaction_id));
  }

  void tell(const Entry& entry, const Administration& record) {
    if (!ours(entry)) return;
    add(entry,
        "administration: " + printable(record.action.bytes),
        joined(named("by", record.who), printable(record.detail.bytes)));
  }

  void tell(const Entry& entry, const Security& record) {
    if (!ours(entry)) return;
    add(entry, "security: " + printable(record.event.bytes), printable(record.detail.bytes));
  }

  // These belong to no request.
  void tell(const Entry& /*entry*/, const NodeStarted& /*record*/) {}
  void tell(const Entry& /*entry*/, const NodeStopped& /*record*/) {}
  void tell(const Entry& /*entry*/, const Retention& /*record*/) {}
  void tell(const Entry& /*entry*/, const Head& /*record*/) {}
  void tell(const Entry& /*entry*/, const Interruption& /*record*/) {}

  std::filesystem::path folder_;
  TraceSettings settings_;
  Story story_;
  std::string hex_;                                                      // Of the request.
  std::map<std::pair<std::string, std::uint32_t>, std::uint64_t> ends_;  // Of shards: sequences.
  std::set<RequestId> transactions_;  // Of ingest, with messages of other requests too.
  std::set<VisitKey> visits_;
  std::map<VisitKey, WallTime> let_in_;
  std::map<StatementKey, std::optional<std::size_t>> statements_;  // To their steps.
  std::map<std::uint64_t, std::string> shapes_;                    // By fingerprint.
  // When which key of which view became old.
  std::multimap<std::pair<std::string, std::string>, WallTime> old_;
};

// Text in columns as wide as their widest cell. The last one is not filled up.
class Table {
 public:
  void add(std::vector<std::string> row) {
    widths_.resize(std::max(widths_.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) {
      widths_[i] = std::max(widths_[i], row[i].size());
    }
    rows_.push_back(std::move(row));
  }

  std::string take() const {
    std::string out;
    for (const auto& row : rows_) {
      std::string line;
      for (std::size_t i = 0; i < row.size(); ++i) {
        line += row[i];
        if (i + 1 < row.size()) line.append(widths_[i] - row[i].size() + 2, ' ');
      }
      line.erase(line.find_last_not_of(' ') + 1);
      out += line + "\n";
    }
    return out;
  }

 private:
  std::vector<std::vector<std::string>> rows_;
  std::vector<std::size_t> widths_;
};

}  // namespace

Result<Story> trace(const std::filesystem::path& folder,
                    RequestId request,
                    TraceSettings settings) {
  if (request.nil()) {
    return fail(Errc::invalid, "the nil request id belongs to no request: name the one to trace");
  }
  return Tracer(folder, request, settings).run();
}

std::string to_text(const Story& story) {
  std::string out = fmt::format("request {}\n", story.request.to_string());
  if (story.steps.empty()) return out + "the trail knows nothing of it\n";
  Table table;
  table.add({"TIME", "AFTER", "NODE", "DOOR", "VISIT", "WHAT", "DETAIL"});
  const WallTime begin = story.steps.front().time;
  for (const TraceStep& step : story.steps) {
    table.add({to_rfc3339(step.time),
               "+" + meridian::to_text(Duration(step.time - begin)),
               step.node,
               step.door.empty() ? "-" : printable(step.door),
               step.visit == VisitId() ? "-" : std::to_string(step.visit.value()),
               (step.follows ? "> " : "") + step.what,
               step.detail});
  }
  out += table.take();
  if (story.cut) out += "there is more: the story was cut here\n";
  for (const std::string& line : story.broken) {
    out += "could not be read: " + line + "\n";
  }
  return out;
}

std::string to_json(const Story& story) {
  JsonWriter json;
  json.open_object().field("request", story.request.to_string()).field("cut", story.cut);
  json.name("steps").open_array();
  for (const TraceStep& step : story.steps) {
    json.open_object()
        .field("time", to_rfc3339(step.time))
        .field("node", step.node)
        .field("shard", std::uint64_t{step.shard})
        .field("sequence", step.sequence)
        .field("kind", to_string(step.kind));
    if (step.visit != VisitId()) json.field("visit", step.visit.value());
    if (!step.door.empty()) json.field("door", step.door);
    json.field("what", step.what).field("detail", step.detail).field("follows", step.follows);
    json.close_object();
  }
  json.close_array().name("broken").open_array();
  for (const std::string& line : story.broken) {
    json.value(line);
  }
  json.close_array().close_object();
  return json.take();
}

}  // namespace meridian::trail
