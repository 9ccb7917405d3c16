// What an operator has a rule do again, or undo: dead letters, replays, rollbacks.

#include "base/escape.h"
#include "base/number.h"
#include "runtime/log.h"
#include "streams/ingest.h"
#include "streams/ledger.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

namespace meridian {
namespace {

constexpr Duration replay_idle_max = std::chrono::seconds(30);
constexpr Duration replay_setup_timeout = std::chrono::seconds(30);
constexpr Duration replay_threshold = std::chrono::minutes(5);
constexpr Duration stop_pause = std::chrono::milliseconds(20);
constexpr Duration again_pause = std::chrono::milliseconds(20);
constexpr int attempts_max = 50;
constexpr int patience_max = 10;  // Of the pauses before them.

constexpr std::string_view letters_sql =
    "SELECT id, sequence, stored_at, subject, encode(headers, 'hex'), encode(payload, 'hex')"
    " FROM meridian.dead_letters WHERE rule = $1::integer AND state = 'dead' AND"
    " ($2::bigint[] IS NULL OR id = ANY ($2::bigint[])) ORDER BY id LIMIT $3::bigint";
constexpr std::string_view ledger_after_sql =
    "SELECT kind, encode(entries, 'hex'), skipped::text FROM meridian.ingest_batches WHERE rule ="
    " $1::integer AND incarnation = $2::bigint AND kind IN (0, 1, 2) AND last_sequence > $3::bigint"
    " AND last_time > $4::bigint"
    " ORDER BY ordinal NULLS FIRST, committed_at";
constexpr std::string_view dead_after_sql =
    "SELECT sequence, stored_at FROM meridian.dead_letters WHERE rule = $1::integer AND "
    "incarnation ="
    " $2::bigint AND state <> 'retried' AND sequence > $3::bigint";

// "{1,2}" of PostgreSQL.
std::set<std::size_t> to_numbers(std::string_view array) {
  std::set<std::size_t> numbers;
  while (!array.empty()) {
    const std::size_t end = std::min(array.find_first_of(",{}"), array.size());
    if (const auto number = parse_number<std::size_t>(array.substr(0, end)))
      numbers.insert(*number);
    array.remove_prefix(std::min(end + 1, array.size()));
  }
  return numbers;
}

// A table's name as operators write it: it goes into statements as it is.
bool is_table_name(std::string_view name) {
  return !name.empty() && name.size() <= 127 && !name.starts_with('.') && !name.ends_with('.') &&
         std::ranges::count(name, '.') <= 1 && std::ranges::all_of(name, [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.';
         });
}

// Locks and deadlocks are tried again, and leave no text.
std::string reason(const BatchResult& result) {
  if (!result.why.empty()) return result.why;
  return "other transactions were in the way each of " + std::to_string(attempts_max) +
         " times; try again when they are over";
}

}  // namespace

Async<Result<IngestRule::Counts>> IngestRule::retry(std::vector<std::int64_t> letters,
                                                    Deadline deadline) {
  MERIDIAN_CO_TRY(const Kept kept, co_await load(deadline));
  std::string list = "{";
  for (const std::int64_t letter : letters)
    list += (list.size() > 1 ? "," : "") + std::to_string(letter);
  list += "}";
  const std::string id = std::to_string(kept.id);
  const std::string most = std::to_string(letters_max);
  MERIDIAN_CO_TRY(
      const Rows rows,
      co_await parts_.statements.run(
          letters_sql, {id, letters.empty() ? Parameter() : Parameter(list), most}, deadline));
  Counts counts;
  if (!letters.empty()) counts.others = letters.size() - std::min(letters.size(), rows.count());
  if (rows.empty()) co_return counts;
  Claim claim{.kind = BatchKind::retry,
              .incarnation = kept.incarnation,
              .request = RequestId::make(loop_.wall_now(), loop_.random())};
  std::vector<IngestMessage> messages;
  for (std::size_t row = 0; row < rows.count(); ++row) {
    claim.letters.push_back(parse_number<std::int64_t>(rows.text(row, 0)).value_or(0));
    Delivery delivery(rows.text(row, 3), unhex(rows.text(row, 4)), unhex(rows.text(row, 5)));
    delivery.sequence = parse_number<std::uint64_t>(rows.text(row, 1)).value_or(0);
    delivery.time = parse_number<std::int64_t>(rows.text(row, 2)).value_or(0);
    messages.emplace_back(std::move(delivery));
  }
  MERIDIAN_CO_TRY(const auto session, co_await open_session(rule_, kept.id, deadline));
  IngestBatch batch(std::move(messages));
  const Time from = loop_.now();
  BatchResult result;
  for (int attempt = 1; attempt <= attempts_max; ++attempt) {
    result = co_await session->commit(batch, claim);
    if (result.next != BatchResult::Next::again) break;
    if (co_await loop_.sleep(again_pause * std::min(attempt, patience_max)) != Wake::ready) break;
  }
  {
    const Shield shield(co_await this_fibre());
    co_await session->close();
  }
  if (result.next != BatchResult::Next::done) co_return fail(Errc::unavailable, reason(result));
  MERIDIAN_CO_CHECK(co_await record(batch, claim, result, from));
  counts.rows = result.rows_count;
  counts.dead = result.dead_count;
  counts.others += result.duplicates_count;
  co_return counts;
}

// The rule with another table in its statement's place.
Async<Result<Rule>> IngestRule::make_copy_rule(std::string table, Deadline deadline) {
  const auto& insert = rule_.statement().insert;
  if (!insert) {
    co_return fail(Errc::invalid,
                   "--into takes an INSERT of one row of VALUES, and of this rule " +
                       rule_.statement().one_by_one);
  }
  if (!is_table_name(table)) {
    co_return fail(Errc::invalid, quote(table) + " is no table's name that needs no quotes");
  }
  // Beside the rule's own table, unless another schema is named.
  MERIDIAN_CO_TRY(
      const Rows found,
      co_await parts_.statements.run(
          "SELECT CASE WHEN $2 LIKE '%.%' THEN $2 ELSE pg_catalog.format('%I.%I', n.nspname, $2)"
          " END, to_regclass(CASE WHEN $2 LIKE '%.%' THEN $2 ELSE pg_catalog.format('%I.%I',"
          " n.nspname, $2) END) IS NOT NULL FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace"
          " n ON n.oid = c.relnamespace WHERE c.oid = to_regclass($1)",
          {insert->relation, table},
          deadline));
  if (found.empty()) {
    co_return fail(Errc::not_found, "there is no table " + insert->relation);
  }
  table = found.text(0, 0);
  if (!found.flag(0, 1)) {
    MERIDIAN_CO_TRY(const Rows made,
                    co_await parts_.statements.run(
                        "CREATE TABLE " + table + " (LIKE " + insert->relation + " INCLUDING ALL)",
                        {},
                        deadline));
    MERIDIAN_CO_TRY(
        const Rows granted,
        co_await parts_.statements.run("GRANT SELECT, INSERT, UPDATE ON " + table + " TO " +
                                           quote_identifier(rule_.settings().role),
                                       {},
                                       deadline));
  }
  RuleSettings settings = rule_.settings();
  std::size_t field = 0;
  // Parameters back to what they were written as.
  settings.sql = postgres::replace_parameters(
      insert->before + table + insert->columns + "VALUES (" + insert->values + ")" + insert->tail,
      [&](std::size_t number) {
        field = number;
        return "{" + rule_.statement().fields[field - 1] + "}";
      });
  co_return Rule::compile(std::move(settings));
}

Async<Result<void>> IngestRule::start_replay(ReplayOptions options, Deadline deadline) {
  if (replay_.state == ReplayStatus::State::running) {
    co_return fail(Errc::conflict, "a replay of this rule is running");
  }
  if (options.into.empty() && !rule_.statement().repeatable && !options.force) {
    co_return fail(Errc::invalid,
                   "the statement would write its rows twice: it has no ON CONFLICT. Replay --into "
                   "another table, or say --force where running it twice is right");
  }
  if (options.from_sequence == 0 && !options.from_time) {
    co_return fail(Errc::invalid, "say from where: a sequence or a time");
  }
  MERIDIAN_CO_TRY(
      const auto jetstream,
      co_await JetStream::connect(loop_, parts_.nats, "meridian replay " + rule_.name(), deadline));
  auto stream = co_await find_stream(*jetstream, false, deadline);
  co_await jetstream->close();
  if (!stream) co_return std::unexpected(stream.error());
  if (options.from_sequence != 0 && stream->first_sequence > options.from_sequence) {
    co_return fail(Errc::not_found,
                   "stream " + stream->config.name + " begins at " +
                       std::to_string(stream->first_sequence) +
                       ": what is before that can no longer be replayed");
  }
  if (options.to_sequence == 0) options.to_sequence = stream->last_sequence;
  replay_ = ReplayStatus{.state = ReplayStatus::State::running};
  replay_cancelled_ = false;
  scope_.spawn([](IngestRule& self, ReplayOptions with) -> Async<> {
    auto done = co_await self.run_replay(std::move(with));
    self.replay_.state = done ? ReplayStatus::State::done : ReplayStatus::State::failed;
    if (!done) self.replay_.why = done.error().detail();
    log_info("ingest",
             "a replay has ended",
             {{"rule", self.rule_.name()},
              {"rows", self.replay_.rows},
              {"last", self.replay_.last_sequence},
              {"reason", self.replay_.why}});
  }(*this, std::move(options)));
  co_return Result<void>();
}

Async<Result<void>> IngestRule::run_replay(ReplayOptions options) {
  const Deadline deadline = loop_.after(replay_setup_timeout);
  MERIDIAN_CO_TRY(const Kept kept, co_await load(deadline));
  Result<Rule> copy = options.into.empty() ? Rule::compile(rule_.settings())
                                           : co_await make_copy_rule(options.into, deadline);
  if (!copy) co_return std::unexpected(copy.error());
  MERIDIAN_CO_TRY(
      const auto jetstream,
      co_await JetStream::connect(loop_, parts_.nats, "meridian replay " + rule_.name(), deadline));
  // One replay of a rule at a time, on whatever node.
  Lease lease(loop_,
              parts_.statements,
              {.name = "replay/" + rule_.name(),
               .owner = parts_.run.node + " replay",
               .run = parts_.run.number});
  lease.start();
  const auto work = [&]() -> Async<Result<void>> {
    auto held = co_await lease.becomes(true, deadline);
    if (!held) co_return fail(Errc::conflict, "another node replays this rule");
    MERIDIAN_CO_TRY(const StreamInfo stream, co_await find_stream(*jetstream, false, deadline));
    const std::string name = stream.config.name;
    ConsumerConfig config{.description = "a replay of Meridian's rule " + rule_.name(),
                          .filter_subject = rule_.settings().subject,
                          .start_sequence = options.from_sequence,
                          .ack_wait = replay_threshold,
                          .ack_pending_max = -1,
                          .inactive_threshold = replay_threshold};
    if (options.from_sequence == 0) config.start_time = options.from_time;
    MERIDIAN_CO_TRY(const ConsumerInfo consumer,
                    co_await jetstream->create_consumer(name, config, deadline));
    if (consumer.pending_count == 0) co_return Result<void>();
    MERIDIAN_CO_TRY(const auto session, co_await open_session(*copy, kept.id, deadline));
    const auto each_batch = [&]() -> Async<Result<void>> {
      const std::int64_t to_time =
          options.to_time
              ? std::chrono::duration_cast<Duration>(options.to_time->time_since_epoch()).count()
              : INT64_MAX;
      PullSubscription pull(loop_,
                            *jetstream,
                            {.stream = name,
                             .consumer = consumer.name,
                             .messages_max = 2 * rule_.settings().batch_messages_max,
                             .bytes_max = 2 * rule_.settings().batch_bytes_max});
      std::uint64_t number = 0;
      std::uint64_t delivered = 0;
      for (bool more = true; more;) {
        if (replay_cancelled_) co_return fail(Errc::cancelled, "it was cancelled");
        MERIDIAN_CO_TRY(
            auto deliveries,
            co_await pull.take(rule_.settings().batch_messages_max, loop_.after(replay_idle_max)));
        std::vector<IngestMessage> messages;
        for (Delivery& delivery : deliveries) {
          if (delivery.delivery != ++delivered) {
            co_return fail(Errc::unavailable, "a delivery did not arrive");
          }
          if (delivery.sequence > options.to_sequence || delivery.time > to_time) {
            more = false;
            break;
          }
          if (delivery.pending == 0 || delivery.sequence == options.to_sequence) more = false;
          messages.emplace_back(std::move(delivery));
        }
        if (messages.empty()) continue;
        const std::uint64_t last = messages.back().place.sequence;
        IngestBatch batch(std::move(messages));
        const Claim claim{.lease = lease.name(),
                          .epoch = lease.epoch(),
                          .number = ++number,
                          .kind = options.into.empty() ? BatchKind::replay : BatchKind::copy,
                          .incarnation = kept.incarnation,
                          .day = parts_.ledger_day,
                          .request = RequestId::make(loop_.wall_now(), loop_.random())};
        const Time from = loop_.now();
        BatchResult result;
        for (int attempt = 1; attempt <= attempts_max; ++attempt) {
          result = co_await session->commit(batch, claim);
          if (result.next != BatchResult::Next::again) break;
          if (co_await loop_.sleep(again_pause * std::min(attempt, patience_max)) != Wake::ready)
            break;
        }
        if (result.next != BatchResult::Next::done) {
          co_return fail(
              Errc::unavailable,
              reason(result) + "; it is committed up to " + std::to_string(replay_.last_sequence));
        }
        MERIDIAN_CO_CHECK(co_await record(batch, claim, result, from));
        for (IngestMessage& message : batch.messages())
          jetstream->send(message.delivery.reply(), "+ACK");
        replay_.last_sequence = last;
        replay_.rows += result.rows_count;
        replay_.duplicates += result.duplicates_count;
        replay_.dead += result.dead_count;
      }
      co_return Result<void>();
    };
    auto done = co_await each_batch();
    const Shield shield(co_await this_fibre());
    co_await session->close();
    (void)co_await jetstream->delete_consumer(name, consumer.name, loop_.after(again_pause * 50));
    co_return done;
  };
  auto done = co_await work();
  const Shield shield(co_await this_fibre());
  co_await lease.close();
  co_await jetstream->close();
  co_return done;
}

Async<Result<IngestRule::Counts>> IngestRule::roll_back(RollbackPoint to, Deadline deadline) {
  if (rule_.settings().rollback.empty()) {
    co_return fail(
        Errc::invalid,
        "the rule does not say how its effects are undone: give it a rollback statement");
  }
  MERIDIAN_CO_TRY(const Kept before, co_await load(deadline));
  if (!lease_.held()) {
    co_return fail(Errc::conflict,
                   lease_.holder().empty() ? "the rule has no owner now; try again"
                                           : lease_.holder() + " has the rule; roll back there");
  }
  if (!before.paused) {
    MERIDIAN_CO_CHECK(co_await pause("a rollback", deadline));
  }
  while (running_ || state_ != State::paused) {
    if (deadline.passed(loop_.now())) co_return fail(Errc::timeout, "the rule did not stop");
    poked_.notify_all();
    if (co_await loop_.sleep(stop_pause) != Wake::ready) {
      co_return fail(Errc::cancelled, "the node stops");
    }
  }
  auto undone = co_await undo(before, to, deadline);
  const Shield shield(co_await this_fibre());
  if (!before.paused) {
    auto resumed = co_await resume(false, loop_.after(replay_setup_timeout));
    if (undone && !resumed) co_return std::unexpected(resumed.error());
  }
  co_return undone;
}

Async<Result<IngestRule::Counts>> IngestRule::undo(const Kept& kept,
                                                   RollbackPoint to,
                                                   Deadline deadline) {
  const std::string id = std::to_string(kept.id);
  const std::string incarnation = std::to_string(kept.incarnation);
  if (to.time) to.sequence = 0;
  const std::int64_t to_time =
      to.time ? std::chrono::duration_cast<Duration>(to.time->time_since_epoch()).count()
              : INT64_MIN;
  const std::string after = std::to_string(to.sequence);
  const std::string after_time = std::to_string(to_time);
  // What has an effect now: in the order in which it was committed.
  std::map<std::uint64_t, std::int64_t> wanted;
  MERIDIAN_CO_TRY(const Rows ledger,
                  co_await parts_.statements.run(
                      ledger_after_sql, {id, incarnation, after, after_time}, deadline));
  for (std::size_t row = 0; row < ledger.count(); ++row) {
    MERIDIAN_CO_TRY(const auto places, decode_places(unhex(ledger.text(row, 1))));
    const std::set<std::size_t> skipped = to_numbers(ledger.text(row, 2));
    const bool undoes = ledger.text(row, 0) == "2";
    for (std::size_t i = 0; i < places.size(); ++i) {
      const bool stays = places[i].sequence <= to.sequence || places[i].time <= to_time;
      if (stays || skipped.contains(i + 1)) continue;
      if (undoes) {
        wanted.erase(places[i].sequence);
      } else {
        wanted.insert_or_assign(places[i].sequence, places[i].time);
      }
    }
  }
  MERIDIAN_CO_TRY(
      const Rows dead,
      co_await parts_.statements.run(dead_after_sql, {id, incarnation, after}, deadline));
  for (std::size_t row = 0; row < dead.count(); ++row)
    wanted.erase(parse_number<std::uint64_t>(dead.text(row, 0)).value_or(0));
  Counts counts;
  if (wanted.empty()) co_return counts;
  if (wanted.size() > rollback_max) {
    co_return fail(Errc::exhausted,
                   std::to_string(wanted.size()) + " messages are more than rollback_max=" +
                       std::to_string(rollback_max) + "; roll back to a later one first");
  }
  RuleSettings settings = rule_.settings();
  settings.sql = settings.rollback;
  settings.key.clear();
  MERIDIAN_CO_TRY(const Rule rule, Rule::compile(std::move(settings)));
  MERIDIAN_CO_TRY(const auto jetstream,
                  co_await JetStream::connect(
                      loop_, parts_.nats, "meridian rollback " + rule_.name(), deadline));
  const auto fetch = [&]() -> Async<Result<std::vector<IngestMessage>>> {
    MERIDIAN_CO_TRY(const StreamInfo stream, co_await find_stream(*jetstream, false, deadline));
    const ConsumerConfig config{.description = "a rollback of Meridian's rule " + rule_.name(),
                                .filter_subject = rule_.settings().subject,
                                .start_sequence = wanted.begin()->first,
                                .ack_wait = replay_threshold,
                                .ack_pending_max = -1,
                                .inactive_threshold = replay_threshold};
    MERIDIAN_CO_TRY(const ConsumerInfo consumer,
                    co_await jetstream->create_consumer(stream.config.name, config, deadline));
    PullSubscription pull(
        loop_, *jetstream, {.stream = stream.config.name, .consumer = consumer.name});
    std::vector<IngestMessage> messages;
    for (bool more = consumer.pending_count > 0; more && messages.size() < wanted.size();) {
      MERIDIAN_CO_TRY(auto deliveries,
                      co_await pull.take(rule_.settings().batch_messages_max, deadline));
      for (Delivery& delivery : deliveries) {
        if (delivery.pending == 0) more = false;
        const auto found = wanted.find(delivery.sequence);
        if (found == wanted.end() || found->second != delivery.time) continue;
        messages.emplace_back(std::move(delivery));
      }
    }
    co_return messages;
  };
  auto messages = co_await fetch();
  {
    const Shield shield(co_await this_fibre());
    co_await jetstream->close();
  }
  if (!messages) co_return std::unexpected(messages.error());
  if (messages->size() < wanted.size()) {
    co_return fail(Errc::not_found,
                   "the stream no longer has " + std::to_string(wanted.size() - messages->size()) +
                       " of the " + std::to_string(wanted.size()) + " messages");
  }
  MERIDIAN_CO_TRY(const auto session, co_await open_session(rule, kept.id, deadline));
  IngestBatch batch(*std::move(messages));
  const Claim claim{.lease = lease_.name(),
                    .epoch = lease_.epoch(),
                    .number = ++batch_number_,
                    .kind = BatchKind::rollback,
                    .incarnation = kept.incarnation,
                    .day = parts_.ledger_day,
                    .request = RequestId::make(loop_.wall_now(), loop_.random())};
  const Time from = loop_.now();
  BatchResult result;
  for (int attempt = 1; attempt <= attempts_max; ++attempt) {
    result = co_await session->commit(batch, claim);
    if (result.next != BatchResult::Next::again) break;
    if (co_await loop_.sleep(again_pause * std::min(attempt, patience_max)) != Wake::ready) break;
  }
  {
    const Shield shield(co_await this_fibre());
    co_await session->close();
  }
  if (result.next != BatchResult::Next::done) {
    co_return fail(Errc::invalid, "nothing was undone: " + result.why);
  }
  MERIDIAN_CO_CHECK(co_await record(batch, claim, result, from));
  counts.rows = batch.count();
  co_return counts;
}

}  // namespace meridian
