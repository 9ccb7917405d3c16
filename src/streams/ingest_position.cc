// Where a rule begins: what the database says is done, and whether the stream is still the one that
// it was.

#include "base/escape.h"
#include "base/number.h"
#include "runtime/log.h"
#include "streams/ingest.h"
#include "streams/installation.h"
#include "streams/ledger.h"
#include "wire/nats/subject.h"

#include <algorithm>
#include <utility>

namespace meridian {
namespace {

const std::string load_sql =
    "WITH made AS (INSERT INTO meridian.ingest_rules (name) VALUES ($1) ON CONFLICT DO NOTHING"
    " RETURNING *) SELECT id, stream, stream_created, incarnation, floor, floor_time, paused,"
    " paused_why, " +
    std::string(installation_sql) +
    " FROM (SELECT * FROM made UNION ALL SELECT * FROM meridian.ingest_rules WHERE name "
    "="
    " $1) AS r LIMIT 1";
// In one statement: what the ledger forgets is noted with the rule in the same transaction.
constexpr std::string_view floor_sql =
    "SELECT floor, floor_time FROM (SELECT floor, floor_time FROM meridian.ingest_rules WHERE"
    " id = $1::integer AND incarnation = $2::bigint UNION ALL"
    " (SELECT floor, floor_time FROM meridian.ingest_batches WHERE rule = $1::integer AND"
    " incarnation = $2::bigint AND kind = 0 ORDER BY last_sequence DESC LIMIT 1000)) AS b"
    " ORDER BY floor DESC, floor_time DESC LIMIT 1";
constexpr std::string_view ledger_sql =
    "SELECT encode(entries, 'hex') FROM meridian.ingest_batches WHERE rule = $1::integer AND"
    " incarnation = $2::bigint AND kind = 0 AND last_sequence > $3::bigint";
constexpr std::string_view adopt_sql =
    "WITH f AS (SELECT meridian.fence($2, $3::bigint)) UPDATE meridian.ingest_rules SET stream = "
    "$4,"
    " stream_created = $5 FROM f WHERE id = $1::integer";

}  // namespace

Async<Result<IngestRule::Kept>> IngestRule::load(Deadline deadline) {
  MERIDIAN_CO_TRY(const Rows rows,
                  co_await parts_.statements.run(load_sql, {rule_.name()}, deadline));
  if (rows.empty()) co_return fail(Errc::conflict, "the rule was just made by another node");
  const auto number = [&](std::size_t column) {
    return parse_number<std::int64_t>(rows.text(0, column)).value_or(0);
  };
  co_return Kept{.id = static_cast<std::int32_t>(number(0)),
                 .consumer = "meridian_" + rule_.name() + "_" + std::string(rows.text(0, 8)),
                 .stream = std::string(rows.text(0, 1)),
                 .created = std::string(rows.text(0, 2)),
                 .incarnation = number(3),
                 .floor = {.sequence = static_cast<std::uint64_t>(number(4)), .time = number(5)},
                 .paused = rows.flag(0, 6),
                 .paused_why = std::string(rows.text(0, 7))};
}

Async<Result<IngestRule::Position>> IngestRule::load_position(const Kept& kept, Deadline deadline) {
  const std::string id = std::to_string(kept.id);
  const std::string incarnation = std::to_string(kept.incarnation);
  StreamPlace floor = kept.floor;
  MERIDIAN_CO_TRY(const Rows floors,
                  co_await parts_.statements.run(floor_sql, {id, incarnation}, deadline));
  if (!floors.empty()) {
    const auto sequence = parse_number<std::uint64_t>(floors.text(0, 0)).value_or(0);
    const auto time = parse_number<std::int64_t>(floors.text(0, 1)).value_or(0);
    if (sequence > floor.sequence) floor.sequence = sequence;
    floor.time = std::max(floor.time, time);
  }
  Position position{.progress = Progress(floor), .newest = floor};
  const std::string from = std::to_string(floor.sequence);
  MERIDIAN_CO_TRY(const Rows batches,
                  co_await parts_.statements.run(ledger_sql, {id, incarnation, from}, deadline));
  for (std::size_t row = 0; row < batches.count(); ++row) {
    MERIDIAN_CO_TRY(const auto places, decode_places(unhex(batches.text(row, 0))));
    for (const StreamPlace& place : places) {
      position.progress.restore(place);
      if (place.sequence > position.newest.sequence) position.newest = place;
    }
  }
  co_return position;
}

Async<Result<StreamInfo>> IngestRule::find_stream(JetStream& jetstream,
                                                  bool may_make,
                                                  Deadline deadline) {
  const RuleSettings& settings = rule_.settings();
  std::string name = settings.stream;
  if (name.empty()) {
    MERIDIAN_CO_TRY(const auto names, co_await jetstream.streams_of(settings.subject, deadline));
    if (names.size() > 1) {
      co_return fail(Errc::invalid,
                     "several streams take " + settings.subject + ": name one under stream");
    }
    name = names.empty() ? "ingest_" + settings.name : names.front();
  }
  auto found = co_await jetstream.stream_info(name, deadline);
  if (!found && found.error().code() == Errc::not_found && may_make) {
    found = co_await jetstream.create_stream({.name = name,
                                              .subjects = {settings.subject},
                                              .max_age = settings.retention,
                                              .replicas = settings.replicas},
                                             deadline);
    if (found) {
      log_info("ingest", "made a stream", {{"rule", settings.name}, {"stream", name}});
    }
  }
  if (!found) co_return found;
  if (found->config.retention != "limits") {
    co_return fail(Errc::invalid,
                   "stream " + name + " has " + found->config.retention +
                       " retention, which forgets what is acknowledged; ingest needs limits");
  }
  const bool taken = std::ranges::any_of(found->config.subjects, [&](const std::string& pattern) {
    return nats::is_subset(settings.subject, pattern);
  });
  if (!taken) {
    co_return fail(Errc::invalid, "stream " + name + " does not take " + settings.subject);
  }
  co_return found;
}

Async<Result<ConsumerConfig>> IngestRule::check_position(JetStream& jetstream,
                                                         const StreamInfo& stream,
                                                         Kept& kept,
                                                         const Position& position,
                                                         Deadline deadline) {
  const RuleSettings& settings = rule_.settings();
  const StreamPlace floor = position.progress.floor();
  const std::string name = stream.config.name;
  const std::string take_it = "; `meridian ingest resume " + settings.name +
                              " --accept-stream` takes what it has now for new, from its beginning";
  const std::string id = std::to_string(kept.id);
  const std::string epoch = std::to_string(lease_.epoch());
  if (kept.created.empty()) {
    MERIDIAN_CO_TRY(const Rows adopted,
                    co_await parts_.statements.run(
                        adopt_sql, {id, lease_.name(), epoch, name, stream.created}, deadline));
    kept.stream = name;
    kept.created = stream.created;
  } else if (kept.stream != name || kept.created != stream.created) {
    co_return fail(
        Errc::conflict,
        kept.stream != name
            ? "the rule has read stream " + kept.stream + " before, and not " + name + take_it
            : "stream " + name + " was deleted and made again" + take_it);
  }
  if (position.newest.sequence > stream.last_sequence) {
    co_return fail(Errc::conflict,
                   "stream " + name + " ends at " + std::to_string(stream.last_sequence) +
                       ", and " + std::to_string(position.newest.sequence) +
                       " was done already: it has lost its end" + take_it);
  }
  ConsumerConfig consumer{.durable = kept.consumer,
                          .description = "Meridian's ingest rule " + settings.name,
                          .filter_subject = settings.subject,
                          .start_sequence = floor.sequence + 1,
                          .ack_wait = settings.ack_wait};
  if (position.newest.sequence > 0) {
    const auto last = co_await jetstream.message(name, position.newest.sequence, deadline);
    if (!last && last.error().code() != Errc::not_found) co_return std::unexpected(last.error());
    const std::int64_t time = last ? to_nanoseconds(last->time) : 0;
    if (last && time != 0 && position.newest.time != 0 && time != position.newest.time) {
      alarm("sequence re-use",
            "message " + std::to_string(position.newest.sequence) + " of " + name +
                " is not the one that was done; what came after " + to_timestamp(floor.time) +
                " is taken as new");
      consumer.start_sequence = 0;
      consumer.start_time =
          WallTime(std::chrono::floor<std::chrono::microseconds>(Duration(floor.time)));
    }
  }
  // nats-server 2.9 counts what is left for a filtered consumer anew with each message that it
  // delivers, if the consumer begins in the first half of the stream's newest block (8 MiB): some
  // hundred messages a second. What waits there is read without a filter. A longer rest lies in
  // more blocks than one.
  const std::uint64_t waiting =
      stream.last_sequence - std::min(stream.last_sequence, consumer.start_sequence);
  if (consumer.start_sequence != 0 && !caught_up_ && waiting >= unfiltered_min &&
      waiting <= unfiltered_max) {
    consumer.filter_subject.clear();
  }
  const std::uint64_t open = position.progress.first_open();
  if (open > 1 && stream.first_sequence > open) {
    const std::string gap =
        std::to_string(open) + " to " + std::to_string(stream.first_sequence - 1);
    if (gap != gap_) alarm("retention gap", "the stream no longer has " + gap);
    gap_ = gap;
  }
  co_return consumer;
}

Async<Result<void>> IngestRule::make_consumer(JetStream& jetstream,
                                              ConsumerConfig config,
                                              const Position& position,
                                              Deadline deadline) {
  const auto present = co_await jetstream.consumer_info(stream_, config.durable, deadline);
  if (!present && present.error().code() != Errc::not_found) {
    co_return std::unexpected(present.error());
  }
  if (present) {
    if (parts_.ack_before_commit) co_return Result<void>();
    // Other subjects' messages raise the floor of acknowledgements too.
    bool more = present->ack_floor > position.newest.sequence;
    if (more) {
      const auto next = co_await jetstream.next_message(
          stream_, position.newest.sequence + 1, rule_.settings().subject, deadline);
      if (!next && next.error().code() != Errc::not_found) co_return std::unexpected(next.error());
      more = next && next->sequence <= present->ack_floor;
    }
    if (more) {
      alarm("the database lost commits",
            "up to " + std::to_string(present->ack_floor) + " was acknowledged, and " +
                std::to_string(position.newest.sequence) + " is done; the rest is taken again");
    }
    auto deleted = co_await jetstream.delete_consumer(stream_, config.durable, deadline);
    if (!deleted && deleted.error().code() != Errc::not_found) co_return deleted;
  }
  auto made = co_await jetstream.create_consumer(stream_, std::move(config), deadline);
  if (!made) co_return std::unexpected(made.error());
  co_return Result<void>();
}

}  // namespace meridian
