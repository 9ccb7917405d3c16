#include "streams/outbox_store.h"

#include "base/number.h"
#include "streams/installation.h"
#include "streams/outbox_rows.h"
#include "wire/postgres/lsn.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace meridian {
namespace {

// Larger payloads are read one by one, so that what is read at once is bounded.
constexpr std::uint64_t payload_read_along_max = 8'192;

// Which session it is, and whether that session is still there.
constexpr std::string_view session_columns =
    "(SELECT pg_backend_pid() || '/' || extract(epoch FROM a.backend_start)"
    " FROM pg_stat_get_activity(pg_backend_pid()) AS a)";
constexpr std::string_view session_there =
    "EXISTS (SELECT FROM pg_stat_get_activity(split_part({0}, '/', 1)::int) AS a"
    " WHERE extract(epoch FROM a.backend_start)::text = split_part({0}, '/', 2))";

std::unexpected<Error> fail_for_life() {
  return fail(Errc::conflict,
              "the session with the database is another one; the server may have crashed");
}

std::uint64_t to_number(std::string_view text) {
  return parse_number<std::uint64_t>(text).value_or(0);
}

template <class Items, class TextOf>
std::string to_array_text(const Items& items, TextOf&& text_of) {
  std::string text = "{";
  for (const auto& item : items) {
    if (text.size() > 1) text += ',';
    text += std::to_string(text_of(item));
  }
  return text + "}";
}

std::vector<std::uint64_t> parse_array(std::string_view text) {
  std::vector<std::uint64_t> numbers;
  if (text.size() < 2) return numbers;
  text = text.substr(1, text.size() - 2);
  while (!text.empty()) {
    const std::size_t comma = std::min(text.find(','), text.size());
    numbers.push_back(to_number(text.substr(0, comma)));
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return numbers;
}

std::string_view resume_text(OutboxResume resume) {
  switch (resume) {
    case OutboxResume::none:
      return "";
    case OutboxResume::republish:
      return "republish";
    case OutboxResume::skip:
      return "skip";
  }
  return "";
}

std::string to_interval(Duration duration) {
  return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(duration).count()) +
         " milliseconds";
}

}  // namespace

Async<Result<void>> SqlOutboxStore::write(Statements& statements,
                                          std::string_view sql,
                                          std::vector<std::string> values,
                                          Deadline deadline) {
  std::vector<Parameter> parameters{lease_, epoch_};
  for (const std::string& value : values)
    parameters.emplace_back(value);
  auto done = co_await statements.run(sql, Parameters(parameters), deadline);
  if (!done) co_return std::unexpected(done.error());
  co_return Result<void>();
}

Result<void> SqlOutboxStore::check_life(std::string_view session) {
  if (life_.empty()) life_ = session;
  if (life_ != session) return fail_for_life();
  return {};
}

Async<Result<OutboxMarks>> SqlOutboxStore::marks(Deadline deadline) {
  MERIDIAN_CO_TRY(
      const Rows rows,
      co_await statements_.run("SELECT numbered, published, stream_created, stream_sequence,"
                               " condition, resume, settled_id, done_id, " +
                                   std::string(installation_sql) +
                                   " FROM meridian.outbox_state WHERE name = 'outbox'",
                               {},
                               deadline));
  if (rows.count() != 1) co_return fail(Errc::not_found, "meridian.outbox_state has no row");
  OutboxMarks marks{.installation = std::string(rows.text(0, 8)),
                    .numbered = to_number(rows.text(0, 0)),
                    .published = to_number(rows.text(0, 1)),
                    .stream_created = std::string(rows.text(0, 2)),
                    .stream_sequence = to_number(rows.text(0, 3)),
                    .condition = std::string(rows.text(0, 4)),
                    .settled_id = to_number(rows.text(0, 6)),
                    .done_id = to_number(rows.text(0, 7))};
  for (const OutboxResume each : {OutboxResume::republish, OutboxResume::skip}) {
    if (rows.text(0, 5) == resume_text(each)) marks.resume = each;
  }
  co_return marks;
}

Async<Result<Snapshot>> SqlOutboxStore::number(OutboxBatch batch, Deadline deadline) {
  const std::string first = std::to_string(batch.first);
  const std::string firsts = to_array_text(batch.runs, [](const IdRun& run) { return run.first; });
  const std::string counts = to_array_text(batch.runs, [](const IdRun& run) { return run.count; });
  MERIDIAN_CO_TRY(
      const Rows rows,
      co_await statements_.run("SELECT meridian.number_outbox($1, $2::bigint, $3::bigint,"
                               " $4::bigint[], $5::bigint[]), pg_current_snapshot()",
                               {lease_, epoch_, first, firsts, counts},
                               deadline));
  co_return Snapshot::parse(rows.text(0, 1));
}

Async<Result<std::uint64_t>> SqlOutboxStore::number_backlog(std::string snapshot,
                                                            std::vector<TransactionId> excluded,
                                                            std::uint64_t id_limit,
                                                            Deadline deadline) {
  const std::string out = to_array_text(excluded, [](TransactionId id) { return id; });
  const std::string limit = std::to_string(std::min<std::uint64_t>(id_limit, INT64_MAX));
  MERIDIAN_CO_TRY(const Rows rows,
                  co_await slow_.run(fmt::format("SELECT CASE WHEN {} THEN"
                                                 " meridian.number_outbox_backlog($1, $2::bigint,"
                                                 " $3::pg_snapshot, $4::bigint[], $5::bigint) END",
                                                 fmt::format(fmt::runtime(session_there), "$6")),
                                     {lease_, epoch_, snapshot, out, limit, life_},
                                     deadline));
  if (rows.count() != 1 || !rows.at(0, 0)) co_return fail_for_life();
  co_return to_number(rows.text(0, 0));
}

Async<Result<OutboxSnapshot>> SqlOutboxStore::snapshot(Deadline deadline) {
  MERIDIAN_CO_TRY(const Rows rows,
                  co_await reading_.run(
                      fmt::format("SELECT s, pg_snapshot_xmin(s), {} FROM pg_current_snapshot() s",
                                  session_columns),
                      {},
                      deadline));
  MERIDIAN_CO_CHECK(check_life(rows.text(0, 2)));
  MERIDIAN_CO_TRY(Snapshot snapshot, Snapshot::parse(rows.text(0, 0)));
  co_return OutboxSnapshot{.snapshot = std::move(snapshot),
                           .text = std::string(rows.text(0, 0)),
                           .oldest = to_number(rows.text(0, 1))};
}

// A commit that did not wait for the disk is covered by one that does.
Async<Result<Position>> SqlOutboxStore::covering_position(Deadline deadline) {
  auto nudged = co_await reading_.run(
      "SELECT pg_logical_emit_message(true, 'meridian.nudge', '')", {}, deadline);
  if (!nudged) co_return std::unexpected(nudged.error());
  MERIDIAN_CO_TRY(const Rows rows,
                  co_await reading_.run("SELECT pg_current_wal_flush_lsn()", {}, deadline));
  const auto position = postgres::Lsn::parse(rows.text(0, 0));
  if (!position) co_return fail(Errc::invalid, "not a position in the log");
  co_return Position{position->value};
}

Async<Result<bool>> SqlOutboxStore::any_awaits_standby(std::vector<std::uint64_t> transactions,
                                                       Deadline deadline) {
  const std::string list =
      to_array_text(transactions, [](std::uint64_t id) { return static_cast<std::uint32_t>(id); });
  MERIDIAN_CO_TRY(const Rows rows,
                  co_await reading_.run("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE"
                                        " wait_event = 'SyncRep' AND backend_xid::text::bigint ="
                                        " ANY ($1::bigint[]))",
                                        {list},
                                        deadline));
  co_return rows.flag(0, 0);
}

Async<Result<bool>> SqlOutboxStore::all_have_numbers(std::uint64_t behind_id,
                                                     std::uint64_t id_limit,
                                                     Deadline deadline) {
  const std::string behind = std::to_string(behind_id);
  const std::string limit = std::to_string(id_limit);
  MERIDIAN_CO_TRY(
      const Rows rows,
      co_await slow_.run(
          "SELECT NOT EXISTS (SELECT FROM meridian.outbox o"
          " WHERE o.id > $1::bigint AND o.id <= $2::bigint AND NOT o.id <@ (SELECT"
          " coalesce(range_agg(int8range(f, f + l)), '{}') FROM meridian.outbox_batches b,"
          " unnest(b.ids, b.counts) AS r(f, l) WHERE b.id_max > $1::bigint))",
          {behind, limit},
          deadline));
  co_return rows.flag(0, 0);
}

// Two statements: the transaction id has to be drawn after the row id was read. It has to be drawn:
// a snapshot's xmax follows the last transaction that has ended, and those that run may be above.
Async<Result<OutboxHorizon>> SqlOutboxStore::horizon(Deadline deadline) {
  MERIDIAN_CO_TRY(
      const Rows drawn,
      co_await reading_.run(fmt::format("SELECT CASE WHEN is_called THEN last_value ELSE 0 END, {}"
                                        " FROM meridian.outbox_id",
                                        session_columns),
                            {},
                            deadline));
  MERIDIAN_CO_CHECK(check_life(drawn.text(0, 1)));
  MERIDIAN_CO_TRY(
      const Rows next,
      co_await reading_.run(
          fmt::format("SELECT pg_current_xact_id(), {}", session_columns), {}, deadline));
  MERIDIAN_CO_CHECK(check_life(next.text(0, 1)));
  co_return OutboxHorizon{.id = to_number(drawn.text(0, 0)),
                          .next_transaction = to_number(next.text(0, 0))};
}

Async<Result<std::vector<OutboxBatch>>> SqlOutboxStore::batches(std::uint64_t number,
                                                                std::size_t count_max,
                                                                Deadline deadline) {
  const std::string from = std::to_string(number);
  const std::string limit = std::to_string(count_max);
  MERIDIAN_CO_TRY(
      const Rows rows,
      co_await reading_.run(
          "SELECT first, ids, counts FROM meridian.outbox_batches WHERE first >= coalesce("
          "(SELECT max(first) FROM meridian.outbox_batches WHERE first <= $1::bigint), 0)"
          " AND first + count > $1::bigint ORDER BY first LIMIT $2::int",
          {from, limit},
          deadline));
  std::vector<OutboxBatch> batches;
  for (std::size_t i = 0; i < rows.count(); ++i) {
    OutboxBatch batch{.first = to_number(rows.text(i, 0)), .runs = {}};
    const auto firsts = parse_array(rows.text(i, 1));
    const auto counts = parse_array(rows.text(i, 2));
    for (std::size_t j = 0; j < firsts.size() && j < counts.size(); ++j) {
      batch.runs.push_back({.first = firsts[j], .count = counts[j]});
      batch.count += counts[j];
    }
    batches.push_back(std::move(batch));
  }
  co_return batches;
}

Async<Result<std::vector<OutboxRow>>> SqlOutboxStore::rows(std::vector<IdRun> runs,
                                                           Deadline deadline) {
  // Ids of one time lie close together, so few spans cover them, and each is one walk of an index.
  constexpr std::uint64_t gap_max = 256;
  std::ranges::sort(runs, {}, &IdRun::first);
  std::vector<IdRun> spans;
  for (const IdRun& run : runs) {
    if (!spans.empty() && run.first - (spans.back().first + spans.back().count) <= gap_max) {
      spans.back().count = run.first + run.count - spans.back().first;
    } else {
      spans.push_back(run);
    }
  }
  const std::string firsts = to_array_text(spans, [](const IdRun& run) { return run.first; });
  const std::string lasts =
      to_array_text(spans, [](const IdRun& run) { return run.first + run.count - 1; });
  const std::string along = std::to_string(payload_read_along_max);
  MERIDIAN_CO_TRY(const Rows rows,
                  co_await reading_.run(
                      "SELECT o.id, o.subject, o.identity, o.headers, octet_length(o.payload),"
                      " CASE WHEN octet_length(o.payload) <= $3::int THEN o.payload END,"
                      " (extract(epoch FROM o.created_at) * 1000000)::bigint"
                      " FROM unnest($1::bigint[], $2::bigint[]) AS span(first, last)"
                      " JOIN meridian.outbox o ON o.id BETWEEN span.first AND span.last",
                      {firsts, lasts, along},
                      deadline));
  std::vector<OutboxRow> found;
  found.reserve(rows.count());
  for (std::size_t i = 0; i < rows.count(); ++i) {
    OutboxRow row{.id = to_number(rows.text(i, 0)),
                  .subject = std::string(rows.text(i, 1)),
                  .identity = std::string(rows.text(i, 2)),
                  .headers = std::string(rows.text(i, 3)),
                  .payload = {},
                  .payload_size = to_number(rows.text(i, 4)),
                  .created_at = WallTime(std::chrono::microseconds(
                      parse_number<std::int64_t>(rows.text(i, 6)).value_or(0)))};
    if (rows.at(i, 5)) {
      MERIDIAN_CO_TRY(row.payload, parse_bytea(rows.text(i, 5)));
    }
    found.push_back(std::move(row));
  }
  co_return found;
}

Async<Result<std::string>> SqlOutboxStore::payload(std::uint64_t id, Deadline deadline) {
  const std::string number = std::to_string(id);
  MERIDIAN_CO_TRY(const Rows rows,
                  co_await reading_.run("SELECT payload FROM meridian.outbox"
                                        " WHERE id = $1::bigint",
                                        {number},
                                        deadline));
  if (rows.empty()) co_return fail(Errc::not_found, "row " + number + " of the outbox is gone");
  co_return parse_bytea(rows.text(0, 0));
}

// These two marks may be behind what is so, and numbering waits for the row that they are in: they
// do not wait for the disk.
Async<Result<void>> SqlOutboxStore::mark_published(std::uint64_t number,
                                                   std::string stream_created,
                                                   std::uint64_t sequence,
                                                   std::uint64_t done_id,
                                                   Deadline deadline) {
  co_return co_await write(
      marking_,
      "WITH fence AS MATERIALIZED (SELECT meridian.fence($1, $2::bigint),"
      " set_config('synchronous_commit', 'off', true))"
      " UPDATE meridian.outbox_state SET published = $3::bigint, stream_created = $4,"
      " stream_sequence = $5::bigint, done_id = greatest(done_id, $6::bigint), condition = ''"
      " FROM fence WHERE name = 'outbox'",
      {std::to_string(number),
       std::move(stream_created),
       std::to_string(sequence),
       std::to_string(done_id)},
      deadline);
}

Async<Result<void>> SqlOutboxStore::mark_settled(std::uint64_t id, Deadline deadline) {
  const std::string settled = std::to_string(id);
  MERIDIAN_CO_TRY(
      const Rows rows,
      co_await marking_.run(
          fmt::format("WITH fence AS MATERIALIZED (SELECT meridian.fence($1, $2::bigint),"
                      " set_config('synchronous_commit', 'off', true))"
                      " UPDATE meridian.outbox_state SET settled_id = greatest(settled_id,"
                      " $3::bigint) FROM fence WHERE name = 'outbox' AND {} RETURNING name",
                      fmt::format(fmt::runtime(session_there), "$4")),
          {lease_, epoch_, settled, life_},
          deadline));
  if (rows.empty()) co_return fail_for_life();
  co_return Result<void>();
}

Async<Result<void>> SqlOutboxStore::adopt(OutboxMarks marks, Deadline deadline) {
  co_return co_await write(
      marking_,
      "WITH fence AS MATERIALIZED (SELECT meridian.fence($1, $2::bigint))"
      " UPDATE meridian.outbox_state SET numbered = greatest(numbered, $3::bigint),"
      " published = $4::bigint, stream_created = $5, stream_sequence = $6::bigint,"
      " condition = '', resume = '' FROM fence WHERE name = 'outbox'",
      {std::to_string(marks.numbered),
       std::to_string(marks.published),
       marks.stream_created,
       std::to_string(marks.stream_sequence)},
      deadline);
}

Async<Result<void>> SqlOutboxStore::state_condition(std::string condition, Deadline deadline) {
  co_return co_await write(marking_,
                           "WITH fence AS MATERIALIZED (SELECT meridian.fence($1, $2::bigint))"
                           " UPDATE meridian.outbox_state SET condition = $3"
                           " FROM fence WHERE name = 'outbox' AND condition <> $3",
                           {std::move(condition)},
                           deadline);
}

Async<Result<void>> SqlOutboxStore::bury(std::uint64_t number,
                                         std::uint64_t id,
                                         std::string error,
                                         Deadline deadline) {
  co_return co_await write(
      marking_,
      "WITH fence AS MATERIALIZED (SELECT meridian.fence($1, $2::bigint))"
      " INSERT INTO meridian.outbox_dead_letters"
      " (number, id, subject, identity, headers, payload, error)"
      " SELECT $3::bigint, $4::bigint, o.subject, o.identity, o.headers, o.payload, $5"
      " FROM fence LEFT JOIN meridian.outbox o ON o.id = $4::bigint"
      " ON CONFLICT (number) DO NOTHING",
      {std::to_string(number), std::to_string(id), std::move(error)},
      deadline);
}

Async<Result<OutboxBacklog>> SqlOutboxStore::backlog(Deadline deadline) {
  // Rows without a number are counted up to a bound: that there are many is all that matters.
  MERIDIAN_CO_TRY(
      const Rows rows,
      co_await marking_.run(
          "SELECT numbered - published, coalesce((SELECT (extract(epoch FROM clock_timestamp() - "
          "b.numbered_at) * 1000000)::bigint FROM meridian.outbox_batches b"
          " WHERE b.first + b.count - 1 > s.published ORDER BY b.first LIMIT 1), 0),"
          " greatest(0, (SELECT count(*) FROM (SELECT FROM meridian.outbox o WHERE o.id > "
          "s.settled_id LIMIT 1000000) AS counted) - (SELECT coalesce(sum(count), 0) FROM"
          " meridian.outbox_batches b WHERE b.id_max > s.settled_id)),"
          " coalesce((SELECT (extract(epoch FROM clock_timestamp() - o.created_at) * 1000000)"
          "::bigint FROM meridian.outbox o WHERE o.id > s.settled_id ORDER BY o.id LIMIT 1), 0)"
          " FROM meridian.outbox_state s WHERE name = 'outbox'",
          {},
          deadline));
  const auto age = [&](std::size_t column) -> Duration {
    return std::chrono::microseconds(parse_number<std::int64_t>(rows.text(0, column)).value_or(0));
  };
  const std::uint64_t unnumbered = to_number(rows.text(0, 2));
  OutboxBacklog backlog{.rows_count = to_number(rows.text(0, 0)) + unnumbered,
                        .oldest_age = age(1)};
  if (unnumbered > 0) backlog.oldest_age = std::max(backlog.oldest_age, age(3));
  co_return backlog;
}

Async<Result<std::uint64_t>> SqlOutboxStore::trim(Duration keep, Deadline deadline) {
  const std::string interval = to_interval(keep);
  MERIDIAN_CO_TRY(const Rows rows,
                  co_await slow_.run("SELECT meridian.trim_outbox($1, $2::bigint, $3::interval)",
                                     {lease_, epoch_, interval},
                                     deadline));
  co_return to_number(rows.text(0, 0));
}

}  // namespace meridian
