#include "streams/ingest_session.h"

#include "base/escape.h"
#include "base/hex.h"
#include "base/number.h"
#include "gate/trail/digest.h"
#include "streams/ledger.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <span>
#include <utility>

namespace meridian {
namespace {

constexpr Duration answer_grace = std::chrono::seconds(10);

constexpr std::string_view claim_call =
    "meridian.ingest_claim($1::text, $2::text, $3::bigint[], $4::bytea, $5::uuid[], $6::bigint[],"
    " $7::integer[], ";
constexpr std::string_view reclaim_sql =
    "SELECT n, verdict FROM meridian.ingest_reclaim($1::text, $2::integer, $3::bigint[])";
constexpr std::size_t claim_parameters_count = 7;
// What the database tells of the transaction (the feed, the outbox) carries it.
constexpr std::string_view stamp_sql = "SELECT set_config('meridian.request_id', $1::text, false)";
// The parameters' types. A domain over an array has no element type of its own; that of its base
// counts.
constexpr std::string_view types_sql =
    "WITH RECURSIVE base AS (SELECT oid AS type, oid AS at FROM pg_catalog.pg_type"
    " WHERE oid = ANY ($1::oid[]) UNION ALL SELECT b.type, t.typbasetype FROM base b"
    " JOIN pg_catalog.pg_type t ON t.oid = b.at WHERE t.typtype = 'd')"
    " SELECT t.oid, pg_catalog.format_type(t.oid, NULL), t.typcategory, e.typcategory"
    " FROM base b JOIN pg_catalog.pg_type t ON t.oid = b.type"
    " JOIN pg_catalog.pg_type a ON a.oid = b.at AND a.typtype <> 'd'"
    " LEFT JOIN pg_catalog.pg_type e ON e.oid = a.typelem";
// Rows that are sent at once.
constexpr std::size_t rows_at_once_max = 1'000;
constexpr std::string_view bury_sql =
    "SELECT meridian.ingest_bury($1::text, $2::integer, $3::bigint, $4::bigint[], $5::bigint[],"
    " $6::text[], $7::text[], $8::text[], $9::text[], $10::bytea[], $11::bytea[])";

std::string keyed(std::string_view secret, std::string_view text) {
  std::string bytes(secret);
  bytes += text;
  trail::Sha256 sha;
  const auto digest =
      sha.digest({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()});
  wipe(bytes.data(), bytes.size());
  return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}

// What meridian.check_ingest_proof() checks.
std::string make_proof(const Secret& secret,
                       int process,
                       std::string_view role,
                       std::int32_t rule) {
  const std::string message = fmt::format("ingest|{}|{}|{}", process, role, rule);
  const std::string proof = keyed(secret.reveal(), keyed(secret.reveal(), message));
  return to_hex({reinterpret_cast<const std::uint8_t*>(proof.data()), proof.size()});
}

std::string to_binary_4(std::int32_t value) {
  std::string bytes(sizeof value, '\0');
  postgres::store_big_endian(bytes.data(), value);
  return bytes;
}

Command plain(std::string_view sql) {
  return {.statement = sql};
}

// A text that PostgreSQL takes whatever a peer put into it.
std::string database_text(std::string_view text) {
  return escape(text, 1'000);
}

}  // namespace

// The parameters of the claim, and what they are made of.
struct IngestSession::Sent {
  explicit Sent(const Claim& given) : claim(given) {}

  const Claim& claim;
  std::string request{};
  std::string entries{};
  BinaryArray head{oid::int8};
  std::optional<IngestBatch::Ids> ids{};
  BinaryArray skipped{oid::int4};

  Command stamp(std::span<const Parameter, 1> parameters) const {
    return {.statement = "stamp", .prepared = true, .parameters = parameters};
  }
  std::array<Parameter, claim_parameters_count> parameters(std::string_view proof) {
    return {proof,
            claim.lease,
            head.bytes(),
            entries,
            ids ? Parameter(ids->ids.bytes()) : Parameter(),
            ids ? Parameter(ids->payloads.bytes()) : Parameter(),
            skipped.bytes()};
  }
};

std::string_view to_string(BatchKind kind) noexcept {
  switch (kind) {
    case BatchKind::ingest:
      return "ingest";
    case BatchKind::replay:
      return "replay";
    case BatchKind::rollback:
      return "rollback";
    case BatchKind::copy:
      return "copy";
    case BatchKind::retry:
      return "retry";
  }
  return "unknown";
}

RequestId request_of(const IngestBatch& batch, const Claim& claim) {
  const std::string& first = batch.messages().front().producer.request;
  const bool same = std::ranges::all_of(batch.messages(), [&](const IngestMessage& message) {
    return message.producer.request == first;
  });
  if (claim.kind != BatchKind::ingest || !same) return claim.request;
  return RequestId::parse(first).value_or(claim.request);
}

IngestSession::IngestSession(EpollLoop& loop,
                             const Rule& rule,
                             std::int32_t rule_id,
                             const StampMac* mac,
                             std::unique_ptr<PostgresSession> session)
    : loop_(loop),
      rule_(rule),
      rule_id_(rule_id),
      mac_(mac),
      session_(std::move(session)),
      fields_(*PayloadReader::make(rule.settings().schema, rule.payload_paths())) {}

Async<Result<std::unique_ptr<IngestSession>>> IngestSession::open(EpollLoop& loop,
                                                                  PostgresOptions options,
                                                                  const Rule& rule,
                                                                  std::int32_t rule_id,
                                                                  Secret secret,
                                                                  const StampMac* mac,
                                                                  Deadline deadline) {
  options.server_commit = true;  // What is acknowledged to the stream is gone from it.
  options.statement_timeout = rule.settings().statement_timeout;
  // Rows that a user holds are worth waiting for: to give way would be to begin the batch again.
  options.lock_timeout = Duration::zero();
  options.application_name = "meridian ingest " + rule.name();
  const std::string role = options.user;
  MERIDIAN_CO_TRY(auto session,
                  co_await PostgresSession::connect(loop, std::move(options), deadline));
  std::unique_ptr<IngestSession> made(
      new IngestSession(loop, rule, rule_id, mac, std::move(session)));
  made->proof_ = make_proof(secret, made->session_->process_id(), role, rule_id);
  auto prepared = co_await made->prepare(deadline);
  if (!prepared) {
    const Shield shield(co_await this_fibre());
    co_await made->close();
    co_return std::unexpected(prepared.error());
  }
  co_return made;
}

Async<> IngestSession::close() {
  co_await session_->close();
}

Deadline IngestSession::deadline() const {
  return loop_.after(rule_.settings().statement_timeout + answer_grace);
}

// Values as texts, cast to what the statement takes them for.
std::string IngestSession::values_of(std::string_view sql, std::string_view prefix) const {
  return postgres::replace_parameters(sql, [&](std::size_t number) {
    const std::string& type = types_[number - 1];
    return type.empty() ? fmt::format("{}{}", prefix, number)
                        : fmt::format("({}{})::{}", prefix, number, type);
  });
}

Async<Result<void>> IngestSession::prepare(Deadline deadline) {
  const postgres::RuleStatement& statement = rule_.statement();
  // As it is, for the types that the database gives to its parameters, and for the role's rights.
  auto described = co_await session_->prepare("as_written", statement.sql, deadline);
  if (!described) co_return fail_while("the statement", described.error());
  std::string list = "{";
  for (const std::uint32_t type : described->parameter_types)
    list += (list.size() > 1 ? "," : "") + std::to_string(type);
  MERIDIAN_CO_TRY(const Rows types,
                  co_await session_->query(std::string(types_sql), {list + "}"}, deadline));
  for (const std::uint32_t type : described->parameter_types) {
    ParameterKind kind = ParameterKind::text;
    std::string name;
    for (std::size_t row = 0; row < types.count(); ++row) {
      if (parse_number<std::uint32_t>(types.text(row, 0)) != type) continue;
      name = types.text(row, 1);
      if (types.text(row, 2) == "A") {
        kind = types.text(row, 3) == "N" ? ParameterKind::number_array : ParameterKind::array;
      }
      if (types.text(row, 2) == "N") kind = ParameterKind::number;
    }
    if (type == oid::bytea) kind = ParameterKind::bytes;
    if (type == oid::json || type == oid::jsonb) kind = ParameterKind::json;
    if (name.empty()) co_return fail(Errc::invalid, "the type of a parameter is not known");
    kinds_.push_back(kind);
    types_.push_back(type == oid::text || type == oid::bytea ? std::string() : name);
  }
  const auto add = [&](std::string_view name, std::string sql) -> Async<Result<void>> {
    auto prepared = co_await session_->prepare(name, sql, deadline);
    if (!prepared) co_return fail_while("preparing " + std::string(name), prepared.error());
    co_return Result<void>();
  };
  MERIDIAN_CO_CHECK(co_await add("stamp", std::string(stamp_sql)));
  MERIDIAN_CO_CHECK(
      co_await add("claim", fmt::format("SELECT n, verdict FROM {}false)", claim_call)));
  MERIDIAN_CO_CHECK(co_await add("reclaim", std::string(reclaim_sql)));
  MERIDIAN_CO_CHECK(co_await add("bury", std::string(bury_sql)));
  const auto element = [&](std::size_t field) {
    return kinds_[field] == ParameterKind::bytes ? "bytea" : "text";
  };
  if (!statement.insert) {
    // Types that are said, since the values come as texts.
    const std::string sql = postgres::replace_parameters(statement.sql, [&](std::size_t number) {
      const std::string& type = types_[number - 1];
      const std::string value = fmt::format("${}::{}", number, element(number - 1));
      return type.empty() ? value : fmt::format("({})::{}", value, type);
    });
    co_return co_await add("row", sql);
  }
  const postgres::InsertParts& insert = *statement.insert;
  const auto source = [&](std::size_t first) {
    std::string arrays = fmt::format("${}::bigint[]", first);
    std::string names = "meridian_n";
    for (std::size_t field = 0; field < kinds_.size(); ++field) {
      arrays += fmt::format(", ${}::{}[]", first + 1 + field, element(field));
      names += fmt::format(", meridian_f{}", field + 1);
    }
    return fmt::format("unnest({}) AS meridian_m({})", arrays, names);
  };
  const std::string values = values_of(insert.values, "meridian_m.meridian_f");
  const std::string into = insert.before + insert.relation + insert.columns;
  MERIDIAN_CO_CHECK(co_await add(
      "rows",
      fmt::format(
          "{} SELECT {} FROM {} ORDER BY meridian_n{}", into, values, source(1), insert.tail)));
  co_return co_await add(
      "at_once",
      fmt::format("WITH meridian_c AS MATERIALIZED (SELECT n AS meridian_n FROM {}true)"
                  " WHERE verdict = 'f'), meridian_p AS ({} SELECT {} FROM meridian_c JOIN {}"
                  " USING (meridian_n) ORDER BY meridian_n{}) SELECT count(*) FROM meridian_c",
                  claim_call,
                  into,
                  values,
                  source(claim_parameters_count + 1),
                  insert.tail));
}

IngestSession::Trouble IngestSession::classify(const StatementFailure& failure) noexcept {
  const std::string_view state = failure.sqlstate;
  const std::string_view kind = state.substr(0, 2);
  if (state == "MCONF") return Trouble::id_conflict;
  if (state == "MLEAS") return Trouble::restart;
  if (state == "40001" || state == "40P01" || state == "55P03") return Trouble::again;
  // One row that takes for ever cannot be told from a database that is slow: nothing is dropped.
  if (state == "57014") return Trouble::pause;
  if (kind == "08" || kind == "53" || kind == "57" || kind == "58" || kind == "XX" ||
      kind == "25" || kind == "40") {
    return Trouble::restart;
  }
  // A row that a policy does not let in is of the row; a right that is missing is of them all.
  if (state == "42501" && failure.message.contains("row-level security")) return Trouble::poison;
  if (kind == "42" || kind == "3D" || kind == "3F" || kind == "0A" || kind == "26" ||
      kind == "28" || kind == "2F" || kind == "38" || kind == "39" || kind == "F0") {
    return Trouble::pause;
  }
  return Trouble::poison;
}

BatchResult IngestSession::to_result(const Error& error) {
  return {.next = BatchResult::Next::restart, .why = error.detail()};
}

BatchResult IngestSession::to_result(const StatementFailure& failure) const {
  BatchResult result{.why = failure.message + " [" + failure.sqlstate + "]"};
  switch (classify(failure)) {
    case Trouble::again:
    case Trouble::id_conflict:
    case Trouble::poison:
      result.next = BatchResult::Next::again;
      break;
    case Trouble::pause:
      result.next = BatchResult::Next::pause;
      break;
    case Trouble::restart:
      result.next = BatchResult::Next::restart;
      break;
  }
  return result;
}

// What ids are compared within: a replay has a space of its own, so that its messages are not
// duplicates of what they were the first time.
std::string IngestSession::ids_space(const Claim& claim) const {
  const bool again = claim.kind == BatchKind::replay || claim.kind == BatchKind::copy;
  return again ? fmt::format("{} replay {}", rule_id_, claim.epoch) : std::to_string(rule_id_);
}

Async<BatchResult> IngestSession::commit(IngestBatch& batch, Claim claim) {
  batch.read(rule_, fields_, kinds_, fmt::format("{}.{}", claim.epoch, claim.number), mac_);
  Sent sent(claim);
  sent.request = request_of(batch, claim).to_string();
  if (claim.kind != BatchKind::retry) sent.ids = batch.hash_ids(ids_space(claim));
  for (std::size_t i = 0; i < batch.count(); ++i) {
    if (batch.messages()[i].fate == Fate::duplicate) {
      sent.skipped.add(static_cast<std::int32_t>(i + 1));
    }
  }
  const std::vector<StreamPlace> places = batch.places();
  sent.entries = encode_places(places);
  const auto [first, last] =
      std::ranges::minmax(places, {}, [](const StreamPlace& place) { return place.sequence; });
  const auto [oldest, newest] =
      std::ranges::minmax(places, {}, [](const StreamPlace& place) { return place.time; });
  const auto number = [](std::uint64_t value) { return static_cast<std::int64_t>(value); };
  for (const std::int64_t value : {std::int64_t{rule_id_},
                                   number(claim.epoch),
                                   number(claim.number),
                                   static_cast<std::int64_t>(claim.kind),
                                   claim.incarnation,
                                   number(first.sequence),
                                   number(last.sequence),
                                   oldest.time,
                                   newest.time,
                                   number(claim.floor.sequence),
                                   claim.floor.time,
                                   number(batch.count()),
                                   std::int64_t{claim.day}}) {
    sent.head.add(value);
  }
  if (rule_.statement().insert && !batch.any_dead() && claim.kind != BatchKind::retry &&
      claim.kind != BatchKind::rollback) {
    BatchResult result = co_await commit_at_once(batch, sent);
    if (result.next != BatchResult::Next::again || result.why.empty()) co_return result;
  }
  co_return co_await commit_apart(batch, sent);
}

// One statement, which is the transaction.
Async<BatchResult> IngestSession::commit_at_once(IngestBatch& batch, Sent& sent) {
  std::vector<std::size_t> rows;
  BinaryArray numbers(oid::int8);
  for (std::size_t i = 0; i < batch.count(); ++i) {
    if (batch.messages()[i].fate != Fate::row) continue;
    rows.push_back(i);
    numbers.add(static_cast<std::int64_t>(i + 1));
  }
  std::vector<BinaryArray> columns;
  for (std::size_t field = 0; field < kinds_.size(); ++field)
    columns.push_back(batch.column(field, kinds_[field], rows));
  std::vector<Parameter> parameters;
  std::ranges::copy(sent.parameters(proof_), std::back_inserter(parameters));
  parameters.emplace_back(numbers.bytes());
  for (BinaryArray& column : columns)
    parameters.emplace_back(column.bytes());
  const std::array<Parameter, 1> request{sent.request};
  const std::array commands{
      sent.stamp(request),
      Command{.statement = "at_once", .prepared = true, .parameters = parameters}};
  auto done = co_await session_->run(commands, deadline());
  if (!done) co_return to_result(done.error());
  if (done->failure) {
    BatchResult result = to_result(*done->failure);
    // What a deadlock or a conflict ended may succeed as it is; anything else is looked at closer.
    if (classify(*done->failure) == Trouble::again) result.why.clear();
    co_return result;
  }
  const std::size_t fresh = parse_number<std::size_t>(done->rows.back().text(0, 0)).value_or(0);
  const std::size_t twice = batch.count() - rows.size();
  co_return BatchResult{.next = BatchResult::Next::done,
                        .rows_count = fresh - twice,
                        .duplicates_count = batch.count() - fresh + twice};
}

// The same claim, then the rows, so that those that cannot be put in can be told from the others.
Async<BatchResult> IngestSession::commit_apart(IngestBatch& batch, Sent& sent) {
  using Next = BatchResult::Next;
  std::vector<Parameter> claim_parameters;
  std::ranges::copy(sent.parameters(proof_), std::back_inserter(claim_parameters));
  const bool retry = sent.claim.kind == BatchKind::retry;
  const std::string rule = to_binary_4(rule_id_);
  BinaryArray letters(oid::int8);
  for (const std::int64_t letter : sent.claim.letters)
    letters.add(letter);
  if (retry) claim_parameters = {proof_, rule, letters.bytes()};
  const std::array<Parameter, 1> request{sent.request};
  const std::array claiming{
      plain("BEGIN"),
      Command{.statement = retry ? "reclaim" : "claim",
              .prepared = true,
              .parameters = claim_parameters},
      sent.stamp(request),
      // What a deferred constraint does not let in is found out row by row too.
      plain("SET CONSTRAINTS ALL IMMEDIATE"),
      plain("SAVEPOINT rows")};
  auto claimed = co_await session_->run(claiming, deadline());
  if (!claimed) co_return to_result(claimed.error());
  if (claimed->failure) {
    // The claim is ours: what is wrong with it is wrong with no row.
    BatchResult result = to_result(*claimed->failure);
    if (classify(*claimed->failure) == Trouble::poison) result.next = Next::restart;
    co_await roll_back();
    co_return result;
  }
  std::vector<std::size_t> rows;
  std::size_t duplicates = 0;
  std::vector<bool> mine(batch.count(), false);
  const Rows& verdicts = claimed->rows[1];
  for (std::size_t i = 0; i < verdicts.count(); ++i) {
    const auto number = parse_number<std::size_t>(verdicts.text(i, 0)).value_or(0);
    if (number == 0 || number > batch.count()) continue;
    IngestMessage& message = batch.messages()[number - 1];
    const std::string_view verdict = verdicts.text(i, 1);
    if (verdict == "c") {
      message.bury("id conflict", "its message id was used before for another message");
    }
    mine[number - 1] = verdict != "d";
    if (verdict == "d" || message.fate == Fate::duplicate) {
      ++duplicates;
    } else if (message.fate == Fate::row) {
      rows.push_back(number - 1);
    }
  }
  std::ranges::sort(rows);
  // What came last is undone first.
  if (sent.claim.kind == BatchKind::rollback) std::ranges::reverse(rows);
  if (!rows.empty()) {
    BatchResult put = co_await put_rows(batch, rows);
    if (put.next != Next::done) {
      if (put.next != Next::restart) co_await roll_back();
      co_return put;
    }
  }
  std::vector<std::size_t> dead;
  for (std::size_t i = 0; i < batch.count(); ++i) {
    if (sent.claim.kind == BatchKind::rollback && batch.messages()[i].fate == Fate::dead) {
      // All of it or nothing.
      co_await roll_back();
      co_return BatchResult{
          .next = Next::pause,
          .why = fmt::format(
              "message {}: {}", batch.messages()[i].place.sequence, batch.messages()[i].error)};
    }
    if (mine[i] && batch.messages()[i].fate == Fate::dead) dead.push_back(i);
  }
  BatchResult result = co_await bury_and_commit(batch, sent.claim, dead);
  result.dead_count = dead.size();
  result.duplicates_count = duplicates;
  result.rows_count = static_cast<std::size_t>(std::ranges::count_if(
      rows, [&](std::size_t i) { return batch.messages()[i].fate == Fate::row; }));
  co_return result;
}

Async<Result<CommandResults>> IngestSession::send_rows(const IngestBatch& batch,
                                                       const std::vector<std::size_t>& messages) {
  std::vector<Command> commands;
  if (rule_.statement().insert) {
    BinaryArray numbers(oid::int8);
    for (const std::size_t i : messages)
      numbers.add(static_cast<std::int64_t>(i + 1));
    std::vector<BinaryArray> columns;
    for (std::size_t field = 0; field < kinds_.size(); ++field)
      columns.push_back(batch.column(field, kinds_[field], messages));
    std::vector<Parameter> parameters{numbers.bytes()};
    for (BinaryArray& column : columns)
      parameters.emplace_back(column.bytes());
    commands.push_back({.statement = "rows", .prepared = true, .parameters = parameters});
    commands.push_back(plain("SAVEPOINT rows"));
    co_return co_await session_->run(commands, deadline());
  }
  std::vector<Parameter> parameters;
  parameters.reserve(messages.size() * kinds_.size());
  for (const std::size_t i : messages) {
    const std::size_t begin = parameters.size();
    for (std::size_t field = 0; field < kinds_.size(); ++field)
      parameters.emplace_back(batch.value(i, field));
    commands.push_back({.statement = "row",
                        .prepared = true,
                        .parameters = std::span(parameters).subspan(begin, kinds_.size())});
  }
  commands.push_back(plain("SAVEPOINT rows"));
  co_return co_await session_->run(commands, deadline());
}

Async<BatchResult> IngestSession::put_rows(IngestBatch& batch, std::vector<std::size_t> messages) {
  using Next = BatchResult::Next;
  // Ranges still to be put in, the next one last, so that rows go in in their order.
  std::vector<std::vector<std::size_t>> left;
  for (std::size_t end = messages.size(); end > 0;) {
    const std::size_t begin = end > rows_at_once_max ? end - rows_at_once_max : 0;
    left.emplace_back(messages.begin() + static_cast<std::ptrdiff_t>(begin),
                      messages.begin() + static_cast<std::ptrdiff_t>(end));
    end = begin;
  }
  const bool one_by_one = !rule_.statement().insert;
  while (!left.empty()) {
    std::vector<std::size_t> now = std::move(left.back());
    left.pop_back();
    auto done = co_await send_rows(batch, now);
    if (!done) co_return to_result(done.error());
    if (!done->failure) continue;
    const StatementFailure& failure = *done->failure;
    if (classify(failure) != Trouble::poison) co_return to_result(failure);
    const std::array back{plain("ROLLBACK TO SAVEPOINT rows")};
    auto undone = co_await session_->run(back, deadline());
    if (!undone) co_return to_result(undone.error());
    if (undone->failure) co_return to_result(*undone->failure);
    std::size_t culprit = now.size() == 1 ? 0 : now.size();
    if (one_by_one && failure.command < now.size()) culprit = failure.command;
    if (culprit < now.size()) {
      batch.messages()[now[culprit]].bury("poison", failure.message, failure.sqlstate);
      const auto at = now.begin() + static_cast<std::ptrdiff_t>(culprit);
      std::vector<std::size_t> behind(at + 1, now.end());
      now.erase(at, now.end());
      if (!behind.empty()) left.push_back(std::move(behind));
      if (!now.empty()) left.push_back(std::move(now));
      continue;
    }
    const auto middle = now.begin() + static_cast<std::ptrdiff_t>(now.size() / 2);
    left.emplace_back(middle, now.end());
    left.emplace_back(now.begin(), middle);
  }
  co_return BatchResult{.next = Next::done};
}

Async<BatchResult> IngestSession::bury_and_commit(const IngestBatch& batch,
                                                  const Claim& claim,
                                                  std::vector<std::size_t> dead) {
  BinaryArray sequences(oid::int8);
  BinaryArray times(oid::int8);
  BinaryArray subjects(oid::text);
  BinaryArray reasons(oid::text);
  BinaryArray states(oid::text);
  BinaryArray errors(oid::text);
  BinaryArray headers(oid::bytea);
  BinaryArray payloads(oid::bytea);
  auto& messages = const_cast<IngestBatch&>(batch).messages();
  for (const std::size_t i : dead) {
    const IngestMessage& message = messages[i];
    sequences.add(static_cast<std::int64_t>(message.place.sequence));
    times.add(message.place.time);
    subjects.add(database_text(message.delivery.subject()));
    reasons.add(message.reason);
    message.sqlstate.empty() ? states.add_null() : states.add(message.sqlstate);
    errors.add(database_text(message.error));
    headers.add(message.delivery.headers());
    payloads.add(message.delivery.payload());
  }
  const std::string rule = to_binary_4(rule_id_);
  const std::string incarnation = to_binary(claim.incarnation);
  const std::array<Parameter, 11> parameters{proof_,
                                             rule,
                                             incarnation,
                                             sequences.bytes(),
                                             times.bytes(),
                                             subjects.bytes(),
                                             reasons.bytes(),
                                             states.bytes(),
                                             errors.bytes(),
                                             headers.bytes(),
                                             payloads.bytes()};
  std::vector<Command> commands;
  if (!dead.empty()) {
    commands.push_back({.statement = "bury", .prepared = true, .parameters = parameters});
  }
  commands.push_back(plain("COMMIT"));
  auto done = co_await session_->run(commands, deadline());
  if (!done) co_return to_result(done.error());
  if (done->failure) {
    // Also a constraint that is checked at the end: one of the rows breaks it.
    BatchResult result = to_result(*done->failure);
    co_await roll_back();
    co_return result;
  }
  co_return BatchResult{.next = BatchResult::Next::done};
}

Async<> IngestSession::roll_back() {
  const std::array commands{plain("ROLLBACK")};
  (void)co_await session_->run(commands, deadline());
}

}  // namespace meridian
