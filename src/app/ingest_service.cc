#include "app/ingest_service.h"

#include "app/config/bounded_file.h"
#include "app/translate.h"
#include "base/escape.h"
#include "base/number.h"
#include "runtime/log.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <utility>

namespace meridian {
namespace {

constexpr Duration rotate_timeout = std::chrono::seconds(30);
constexpr Duration rotate_pause = std::chrono::seconds(1);
constexpr Duration rotate_every = std::chrono::minutes(10);
// What one look at the database's clock counts at most, however far that has jumped.
constexpr Duration counted_max = rotate_every * 3 / 2;
constexpr Duration jump_min = std::chrono::minutes(1);  // That is worth a word.
constexpr std::string_view rotate_sql =
    "SELECT day, passed FROM meridian.ingest_rotate($1::interval, $2::interval, $3::interval)";

std::string to_interval(Duration duration) {
  return std::to_string(std::chrono::duration_cast<std::chrono::microseconds>(duration).count()) +
         " microseconds";
}

}  // namespace

IngestService::IngestService(IngestServiceParts parts)
    : parts_(std::move(parts)),
      loop_(parts_.thread.loop()),
      statements_(loop_, parts_.admin_session),
      nats_(loop_, parts_.blocking, parts_.nats, parts_.metrics),
      mac_(parts_.stamp_key.empty() ? std::optional<StampMac>()
                                    : std::optional<StampMac>(parts_.stamp_key)),
      shared_(std::make_unique<IngestParts>(
          IngestParts{.loop = loop_,
                      .statements = statements_,
                      .nats = nats_,
                      .session_options = parts_.role_session,
                      .secret = parts_.secret,
                      .mac = mac_ ? &*mac_ : nullptr,
                      .trail = parts_.trail,
                      .metrics = parts_.metrics,
                      .run = parts_.run,
                      .ack_before_commit = parts_.ack_before_commit})),
      wanted_changed_(loop_),
      some_to_start_(loop_),
      clock_jumps_(parts_.metrics.counter(
          "meridian_ingest_clock_jumps_total",
          "Jumps of the database's clock, which what ingest remembers does not follow.")),
      scope_(loop_) {}

IngestService::~IngestService() = default;

namespace {

// Null: payloads are JSON.
Result<std::shared_ptr<const protobuf::Schema>> read_schema(const config::IngestConfig& config) {
  if (!config.takes_protobuf()) return nullptr;
  const auto wrong = [&](const Error& error) {
    return fail(Errc::invalid,
                "descriptor_set " + quote(config.descriptor_set) + ": " + error.detail());
  };
  const auto bytes =
      config::read_bounded_file(config.descriptor_set, protobuf::Schema::size_max, "the file");
  if (!bytes) return wrong(bytes.error());
  auto schema = protobuf::Schema::make(*bytes, config.message);
  if (!schema) return wrong(schema.error());
  return schema;
}

// A schema that was read anew is the same one if its file is.
bool equal(RuleSettings a, const RuleSettings& b) {
  if (a.schema && b.schema && *a.schema == *b.schema) a.schema = b.schema;
  return a == b;
}

}  // namespace

Result<IngestService::Rules> IngestService::compile(const config::Config& config) {
  Rules rules;
  for (const auto& [name, written] : config.ingest) {
    auto schema = read_schema(written);
    if (!schema) return fail_while("ingest." + name, schema.error());
    RuleSettings settings = to_rule_settings(name, written);
    settings.schema = *std::move(schema);
    auto rule = Rule::compile(std::move(settings));
    if (!rule) return fail_while("ingest." + name, rule.error());
    rules.emplace(name, *std::move(rule));
  }
  return rules;
}

void IngestService::start() {
  loop_.submit([this] {
    scope_.spawn(tend());
    scope_.spawn(follow_changes());
  });
  parts_.thread.start();
}

void IngestService::schema_changed() {
  loop_.submit([this] {
    for (const auto& [name, place] : places_)
      place->rule.try_again();
  });
}

void IngestService::set_rules(Rules rules) {
  auto shared = std::make_shared<Rules>(std::move(rules));
  loop_.submit([this, shared] {
    wanted_ = std::move(*shared);
    wanted_changed_.notify_all();
  });
}

Async<> IngestService::follow_changes() {
  for (;;) {
    while (!wanted_) {
      if (co_await wanted_changed_.wait() != Wake::ready) co_return;
    }
    Rules rules = *std::exchange(wanted_, std::nullopt);
    std::vector<std::unique_ptr<Place>> gone;
    for (auto at = places_.begin(); at != places_.end();) {
      const auto same = rules.find(at->first);
      if (same != rules.end() &&
          equal(same->second.settings(), at->second->rule.rule().settings())) {
        rules.erase(same);
        ++at;
      } else {
        gone.push_back(std::move(at->second));
        at = places_.erase(at);
      }
    }
    {
      const Shield shield(co_await this_fibre());
      for (std::unique_ptr<Place>& place : gone)
        co_await retire(std::move(place));
    }
    for (auto& [name, rule] : rules)
      places_.emplace(name, std::make_unique<Place>(loop_, *shared_, std::move(rule)));
    some_to_start_.notify_all();
  }
}

Async<> IngestService::retire(std::unique_ptr<Place> place) {
  while (place->users_count > 0)
    (void)co_await place->left.wait();
  co_await place->rule.close();
  log_info("ingest", "a rule is given up", {{"rule", place->rule.rule().name()}});
}

// Keeps the ledger's and the ids' partitions as they should be; the rules need them to begin.
Async<> IngestService::tend() {
  for (;;) {
    Duration pause = rotate_every;
    if (!places_.empty()) {
      auto rotated = co_await rotate();
      if (!rotated) {
        log_warning("ingest",
                    "the ledger's partitions could not be looked after",
                    {{"reason", rotated.error().detail()}});
        pause = rotate_pause;
      } else {
        for (const auto& [name, place] : places_) {
          if (!std::exchange(place->started, true)) place->rule.start();
        }
      }
    }
    if (co_await some_to_start_.wait(loop_.after(pause)) == Wake::cancelled) co_return;
  }
}

Async<Result<void>> IngestService::rotate() {
  const std::string ids_kept = to_interval(parts_.streams.ids_kept);
  const std::string ledger_kept = to_interval(parts_.streams.ledger_kept);
  // No more than has passed here, where time does not jump. Before the first look nobody knows.
  const Time now = loop_.now();
  const std::optional<Duration> since =
      looked_at_ ? std::optional(now - *looked_at_) : std::nullopt;
  const std::string counted = to_interval(std::min(since.value_or(counted_max), counted_max));
  MERIDIAN_CO_TRY(const Rows rows,
                  co_await statements_.run(
                      rotate_sql, {ids_kept, ledger_kept, counted}, loop_.after(rotate_timeout)));
  const auto day = parse_number<std::int32_t>(rows.text(0, 0));
  const auto seconds = parse_number<std::int64_t>(rows.text(0, 1));
  if (!day || !seconds) co_return fail(Errc::invalid, "meridian.ingest_rotate() gave no day");
  shared_->ledger_day = *day;
  looked_at_ = now;
  const Duration passed = std::chrono::seconds(*seconds);
  if (passed < -jump_min || (since && passed > *since + jump_min)) {
    clock_jumps_.add();
    log_warning(
        "ingest",
        "the database's clock has jumped",
        {{"seconds",
          std::chrono::floor<std::chrono::seconds>(passed - since.value_or(Duration::zero()))
              .count()},
         {"effect", "none on what is remembered (docs/messages.md)"}});
  }
  co_return Result<void>();
}

Async<> IngestService::close() {
  auto closed = std::make_shared<Event>(parts_.main);
  auto closer = std::make_shared<std::unique_ptr<Scope>>();
  loop_.submit([this, closed, closer] {
    *closer = std::make_unique<Scope>(loop_);
    (*closer)->spawn([](IngestService& self, std::shared_ptr<Event> done) -> Async<> {
      co_await self.scope_.close();
      for (const auto& [name, place] : self.places_)
        co_await place->rule.close();
      co_await self.statements_.close();
      self.parts_.main.submit([done] { done->set(); });
    }(*this, closed));
  });
  (void)co_await closed->wait();
  parts_.thread.stop();
  closer->reset();
}

template <class T>
Async<Result<T>> IngestService::ask(std::function<Async<Result<T>>()> work) {
  struct Shared {
    explicit Shared(Loop& home) : done(home) {}
    Event done;
    std::optional<Result<T>> answer;
  };
  auto shared = std::make_shared<Shared>(parts_.main);
  loop_.submit([this, shared, work = std::move(work)]() mutable {
    scope_.spawn([](IngestService& self,
                    std::shared_ptr<Shared> with,
                    std::function<Async<Result<T>>()> what) -> Async<> {
      auto answer = std::make_shared<Result<T>>(co_await what());
      self.parts_.main.submit([with, answer] {
        with->answer.emplace(std::move(*answer));
        with->done.set();
      });
    }(*this, shared, std::move(work)));
  });
  MERIDIAN_CO_CHECK(to_result(co_await shared->done.wait(), "the ingest rules"));
  co_return std::move(*shared->answer);
}

Result<IngestService::Use> IngestService::find(const std::string& rule) {
  const auto found = places_.find(rule);
  if (found == places_.end()) {
    return fail(Errc::not_found, "there is no ingest rule " + quote(rule));
  }
  return Use(*found->second);
}

Async<Result<std::vector<IngestRule::Status>>> IngestService::status() {
  using Answer = std::vector<IngestRule::Status>;
  co_return co_await ask<Answer>([this]() -> Async<Result<Answer>> {
    Answer all;
    for (const auto& [name, place] : places_)
      all.push_back(place->rule.status());
    co_return all;
  });
}

Async<Result<void>> IngestService::pause(std::string rule, std::string why, Deadline deadline) {
  co_return co_await ask<void>([this, rule, why, deadline]() -> Async<Result<void>> {
    MERIDIAN_CO_TRY(const Use found, find(rule));
    co_return co_await found->pause(why, deadline);
  });
}

Async<Result<void>> IngestService::resume(std::string rule, bool accept, Deadline deadline) {
  co_return co_await ask<void>([this, rule, accept, deadline]() -> Async<Result<void>> {
    MERIDIAN_CO_TRY(const Use found, find(rule));
    co_return co_await found->resume(accept, deadline);
  });
}

Async<Result<Rows>> IngestService::dead_letters(std::string rule,
                                                std::string state,
                                                std::size_t count_max,
                                                Deadline deadline) {
  co_return co_await ask<Rows>([this, rule, state, count_max, deadline]() -> Async<Result<Rows>> {
    const std::string most = std::to_string(count_max);
    co_return co_await statements_.run(
        "SELECT d.id, r.name, d.sequence, d.subject, d.reason, coalesce(d.sqlstate, ''), d.error,"
        " d.attempt, d.state, d.buried_at::text, encode(substr(d.payload, 1, 4096), 'escape')"
        " FROM meridian.dead_letters d JOIN meridian.ingest_rules r ON r.id = d.rule"
        " WHERE ($1 = '' OR r.name = $1) AND ($2 = '' OR d.state = $2) ORDER BY d.id"
        " LIMIT $3::bigint",
        {rule, state, most},
        deadline);
  });
}

Async<Result<IngestRule::Counts>> IngestService::retry(std::string rule,
                                                       std::vector<std::int64_t> letters,
                                                       Deadline deadline) {
  using Answer = IngestRule::Counts;
  co_return co_await ask<Answer>([this, rule, letters, deadline]() -> Async<Result<Answer>> {
    MERIDIAN_CO_TRY(const Use found, find(rule));
    co_return co_await found->retry(letters, deadline);
  });
}

Async<Result<std::size_t>> IngestService::discard(std::string rule,
                                                  std::vector<std::int64_t> letters,
                                                  Deadline deadline) {
  using Answer = std::size_t;
  co_return co_await ask<Answer>([this, rule, letters, deadline]() -> Async<Result<Answer>> {
    std::string list = "{";
    for (const std::int64_t letter : letters)
      list += (list.size() > 1 ? "," : "") + std::to_string(letter);
    list += "}";
    MERIDIAN_CO_TRY(
        const Rows rows,
        co_await statements_.run(
            "UPDATE meridian.dead_letters d SET state = 'discarded', settled_at = clock_timestamp()"
            " FROM meridian.ingest_rules r WHERE r.id = d.rule AND r.name = $1 AND d.state = 'dead'"
            " AND ($2::bigint[] IS NULL OR d.id = ANY ($2::bigint[])) RETURNING d.id",
            {rule, letters.empty() ? Parameter() : Parameter(list)},
            deadline));
    co_return rows.count();
  });
}

Async<Result<void>> IngestService::start_replay(std::string rule,
                                                IngestRule::ReplayOptions options,
                                                Deadline deadline) {
  co_return co_await ask<void>([this, rule, options, deadline]() -> Async<Result<void>> {
    MERIDIAN_CO_TRY(const Use found, find(rule));
    co_return co_await found->start_replay(options, deadline);
  });
}

Async<Result<IngestRule::ReplayStatus>> IngestService::replay_status(std::string rule) {
  using Answer = IngestRule::ReplayStatus;
  co_return co_await ask<Answer>([this, rule]() -> Async<Result<Answer>> {
    MERIDIAN_CO_TRY(const Use found, find(rule));
    co_return found->replay();
  });
}

Async<Result<void>> IngestService::cancel_replay(std::string rule) {
  co_return co_await ask<void>([this, rule]() -> Async<Result<void>> {
    MERIDIAN_CO_TRY(const Use found, find(rule));
    found->cancel_replay();
    co_return Result<void>();
  });
}

Async<Result<IngestRule::Counts>> IngestService::roll_back(std::string rule,
                                                           IngestRule::RollbackPoint to,
                                                           Deadline deadline) {
  using Answer = IngestRule::Counts;
  co_return co_await ask<Answer>([this, rule, to, deadline]() -> Async<Result<Answer>> {
    MERIDIAN_CO_TRY(const Use found, find(rule));
    co_return co_await found->roll_back(to, deadline);
  });
}

}  // namespace meridian
