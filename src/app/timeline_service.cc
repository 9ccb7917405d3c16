#include "app/timeline_service.h"

#include "app/translate.h"
#include "base/escape.h"
#include "base/hex.h"
#include "runtime/log.h"
#include "timeline/postgres/migrations.h"

#include <algorithm>
#include <array>
#include <utility>

namespace meridian {
namespace {

constexpr Duration setup_timeout = std::chrono::seconds(30);
constexpr Duration setup_pause = std::chrono::milliseconds(500);
constexpr Duration gave_way_pause = std::chrono::milliseconds(20);  // Doubled up to setup_pause.
constexpr Duration triggers_pause = std::chrono::seconds(1);        // Until those are tried again.
constexpr Duration visible_max = std::chrono::seconds(1);
constexpr Duration visible_pause = std::chrono::milliseconds(1);
constexpr Duration keys_renewed_every = std::chrono::hours(1);
constexpr Duration keys_renewed_apart = std::chrono::seconds(1);
constexpr Duration heads_copied_every = std::chrono::seconds(1);
constexpr int server_version_min = 150'000;
constexpr std::string_view revocations_table = "\"meridian\".\"revocations\"";

// That something is there already, or is gone already: another node was faster since we looked. (In
// the order of the codes: unique_violation, undefined_object, duplicate_object, duplicate_function,
// duplicate_schema, duplicate_table.)
bool was_overtaken(const Error& error) {
  constexpr std::array<std::string_view, 6> codes{
      "[23505]", "[42704]", "[42710]", "[42723]", "[42P06]", "[42P07]"};
  return std::ranges::any_of(codes,
                             [&](std::string_view code) { return error.detail().ends_with(code); });
}

// What no second attempt mends.
bool is_final(const Error& error) {
  const Errc code = error.code();
  return (code == Errc::invalid || code == Errc::denied || code == Errc::not_found ||
          code == Errc::conflict) &&
         !was_overtaken(error);
}

}  // namespace

class TimelineService::FanOut final : public FeedConsumer {
 public:
  FanOut(FeedConsumer& first, FeedConsumer& second) : consumers_{&first, &second} {}

  void lost() override {
    for (FeedConsumer* const each : consumers_)
      each->lost();
  }
  void resumed(BootId boot, Position position, const Snapshot& snapshot) override {
    for (FeedConsumer* const each : consumers_)
      each->resumed(boot, position, snapshot);
  }
  void changed(TransactionId transaction, const ChangedRow& row) override {
    for (FeedConsumer* const each : consumers_)
      each->changed(transaction, row);
  }
  void truncated(TransactionId transaction, std::span<const Relation* const> relations) override {
    for (FeedConsumer* const each : consumers_)
      each->truncated(transaction, relations);
  }
  void message(TransactionId transaction,
               std::string_view prefix,
               std::string_view content) override {
    for (FeedConsumer* const each : consumers_)
      each->message(transaction, prefix, content);
  }
  void aborted(TransactionId transaction) override {
    for (FeedConsumer* const each : consumers_)
      each->aborted(transaction);
  }
  void committed(TransactionId transaction, Position end, WallTime at) override {
    for (FeedConsumer* const each : consumers_)
      each->committed(transaction, end, at);
  }
  void advanced(Position position) override {
    for (FeedConsumer* const each : consumers_)
      each->advanced(position);
  }

 private:
  // Revocations first: when the position counts, they have taken effect.
  std::array<FeedConsumer*, 2> consumers_;
};

TimelineService::TimelineService(EpollLoop& loop,
                                 TimelineShared shared,
                                 PostgresServer server,
                                 config::Config config,
                                 std::function<void()> schema_changed)
    : loop_(loop),
      shared_(shared),
      server_(std::move(server)),
      config_(std::move(config)),
      schema_changed_(std::move(schema_changed)),
      admin_(loop,
             [this] {
               PostgresOptions options = server_.admin_options();
               options.lock_timeout = PostgresOptions::gives_way;
               return options;
             }),
      positions_(loop, [this] { return server_.admin_options(); }),
      invalidator_(shared.coherence, *this, shared.metrics),
      revocation_feed_(loop, shared.revocations, admin_),
      fan_out_(std::make_unique<FanOut>(revocation_feed_, invalidator_)),
      keeper_(loop,
              shared.coherence,
              positions_,
              shared.metrics,
              {.server_changed = [this] { feed_.restart(); }}),
      feed_(loop,
            [this] { return server_.admin_options(); },
            positions_,
            *fan_out_,
            shared.metrics,
            {.confirms = config_.timeline.commit_wait == config::CommitWait::database}),
      seed_(loop.random().next()),
      set_up_done_(loop),
      registration_wanted_(loop),
      views_gauge_(shared.metrics.gauge("meridian_views", "Views that are registered.")),
      broken_gauge_(shared.metrics.gauge("meridian_views_broken", "Views that cannot be read.")),
      scope_(loop) {
  invalidator_.set_ignored_schema("meridian");
}

TimelineService::~TimelineService() = default;

Async<> TimelineService::close() {
  co_await scope_.close();
  co_await feed_.close();
  co_await keeper_.close();
  co_await revocation_feed_.close();
  co_await positions_.close();
  co_await admin_.close();
}

Async<Result<void>> TimelineService::ready(Deadline deadline) {
  while (!set_up_) {
    if (problem_ && is_final(*problem_)) co_return std::unexpected(*problem_);
    const Wake wake = co_await set_up_done_.wait(deadline);
    if (wake == Wake::timeout && problem_) co_return std::unexpected(*problem_);
    if (wake != Wake::ready) co_return to_result(wake, "the timeline");
  }
  co_return Result<void>();
}

Async<> TimelineService::run() {
  for (;;) {
    auto done = co_await set_up();
    if (done) break;
    if (done.error().code() == Errc::cancelled) co_return;
    if (!problem_ || problem_->detail() != done.error().detail()) {
      log_error(
          "timeline", "the database is not ready for a node", {{"reason", done.error().detail()}});
    }
    problem_ = done.error();
    set_up_done_.notify_all();
    if (co_await loop_.sleep(setup_pause) != Wake::ready) co_return;
  }
  problem_.reset();
  keeper_.start();
  revocation_feed_.start();
  feed_.start();
  set_up_ = true;
  set_up_done_.set();
  scope_.spawn(keep_registered());
  scope_.spawn(copy_heads());
}

Async<Result<void>> TimelineService::set_up() {
  const Deadline deadline = loop_.after(setup_timeout);
  if (server_.is_owned()) {
    MERIDIAN_CO_CHECK(co_await make_databases(deadline));
  }
  MERIDIAN_CO_TRY(PostgresSession * session, co_await admin_.get(deadline));
  MERIDIAN_CO_CHECK(co_await check_server(*session, deadline));
  if (config_.timeline.commit_wait == config::CommitWait::database) {
    MERIDIAN_CO_CHECK(co_await check_standby(*session, deadline));
  }
  MERIDIAN_CO_TRY(const int version, co_await migrate(*session, deadline));
  log_debug("timeline", "the schema is up to date", {{"version", version}});
  auto watched = co_await install_schema_watch(*session, deadline);
  uncacheable_.clear();
  if (!watched) {
    if (session->broken()) co_return watched;
    uncacheable_ = "changes of the schema cannot be watched, which takes a superuser: " +
                   watched.error().detail();
    log_warning("timeline", "views are not cached", {{"reason", uncacheable_}});
  }
  MERIDIAN_CO_CHECK(co_await renew_keys(deadline));
  MERIDIAN_CO_CHECK(co_await read_secret(*session, deadline));
  MERIDIAN_CO_CHECK(co_await revocation_feed_.load(deadline));
  co_return co_await register_all(*session, true, deadline);
}

// In an owned server the databases that roles may enter are there.
Async<Result<void>> TimelineService::make_databases(Deadline deadline) {
  MERIDIAN_CO_TRY(
      auto session,
      co_await PostgresSession::connect(
          loop_, server_.admin_options(std::string(PostgresEngine::first_database)), deadline));
  // The owner has the name of Meridian's own schema, which "$user" would put first in its path.
  Result<void> made;
  auto path =
      co_await session->query("ALTER ROLE CURRENT_USER SET search_path = public", {}, deadline);
  if (!path) made = std::unexpected(path.error());
  for (const std::string& database : named_databases(config_)) {
    if (!made) break;
    auto present = co_await session->query(
        "SELECT 1 FROM pg_catalog.pg_database WHERE datname = $1", {database}, deadline);
    if (!present) {
      made = std::unexpected(present.error());
      break;
    }
    if (!present->empty()) continue;
    auto created =
        co_await session->query("CREATE DATABASE " + quote_identifier(database), {}, deadline);
    if (!created) {
      made = std::unexpected(created.error());
      break;
    }
    log_info("timeline", "made a database", {{"database", database}});
  }
  co_await session->close();
  co_return made;
}

Async<Result<void>> TimelineService::check_server(PostgresSession& session, Deadline deadline) {
  if (session.server_version() < server_version_min) {
    co_return fail(Errc::invalid,
                   "the server is PostgreSQL " + std::to_string(session.server_version() / 10'000) +
                       "; 15 or newer is needed");
  }
  MERIDIAN_CO_TRY(
      const Rows rows,
      co_await session.query("SELECT pg_catalog.current_setting('wal_level'),"
                             " pg_catalog.current_setting('max_replication_slots')::int > 0,"
                             " pg_catalog.current_setting('max_wal_senders')::int > 0,"
                             " (SELECT rolreplication OR rolsuper FROM pg_catalog.pg_roles"
                             "   WHERE rolname = current_user)",
                             {},
                             deadline));
  if (rows.text(0, 0) != "logical") {
    co_return fail(Errc::invalid,
                   "wal_level is " + std::string(rows.text(0, 0)) +
                       ", and the feed needs logical. Run ALTER SYSTEM SET wal_level = 'logical'; "
                       "and restart PostgreSQL");
  }
  if (!rows.flag(0, 1) || !rows.flag(0, 2)) {
    co_return fail(Errc::invalid,
                   "the feed needs a replication slot and a WAL sender. Run ALTER SYSTEM SET "
                   "max_replication_slots = 10; "
                   "ALTER SYSTEM SET max_wal_senders = 10; and restart PostgreSQL");
  }
  if (!rows.flag(0, 3)) {
    co_return fail(Errc::denied,
                   "the user of timeline.url may not replicate. Run ALTER ROLE " +
                       quote_identifier(server_.admin_options().user) +
                       " REPLICATION; as a superuser");
  }
  co_return Result<void>();
}

Async<Result<void>> TimelineService::check_standby(PostgresSession& session, Deadline deadline) {
  MERIDIAN_CO_TRY(
      const Rows rows,
      co_await session.query("SELECT pg_catalog.current_setting('synchronous_standby_names'),"
                             " pg_catalog.has_parameter_privilege('synchronous_standby_names', "
                             "'ALTER SYSTEM')"
                             " AND pg_catalog.has_function_privilege('pg_catalog.pg_reload_conf()',"
                             " 'EXECUTE')",
                             {},
                             deadline));
  const std::string names(rows.text(0, 0));
  if (!names.empty() && names != feed_.standby_names()) {
    co_return fail(Errc::invalid,
                   "commit_wait: database needs synchronous_standby_names for itself, and it is " +
                       quote(names) + "; take commit_wait: door");
  }
  if (!rows.flag(0, 1)) {
    const std::string user = quote_identifier(server_.admin_options().user);
    co_return fail(Errc::denied,
                   "commit_wait: database sets synchronous_standby_names. Run GRANT ALTER SYSTEM "
                   "ON PARAMETER synchronous_standby_names TO " +
                       user + "; GRANT EXECUTE ON FUNCTION pg_reload_conf() TO " + user +
                       "; as a superuser");
  }
  co_return Result<void>();
}

Async<Result<void>> TimelineService::renew_keys(Deadline deadline) {
  std::vector<RoleKeys::Managed> roles;
  for (const std::string& role : database_roles(config_)) {
    roles.push_back({.role = role, .create_missing = config_.timeline.manages_roles()});
  }
  co_return co_await shared_.role_keys.renew(server_.admin_options(), std::move(roles), deadline);
}

Async<Result<void>> TimelineService::read_secret(PostgresSession& session, Deadline deadline) {
  MERIDIAN_CO_TRY(const Rows rows,
                  co_await session.query(
                      "SELECT value FROM meridian.secrets WHERE name = 'identity'", {}, deadline));
  TimelineFacts facts = *shared_.facts.get();
  facts.database = server_.database();
  facts.identity_secret = Secret(std::string(rows.empty() ? std::string_view() : rows.text(0, 0)));
  shared_.facts.publish(std::make_shared<const TimelineFacts>(std::move(facts)));
  co_return Result<void>();
}

Async<Result<void>> TimelineService::register_all(PostgresSession& session,
                                                  bool seen,
                                                  Deadline deadline) {
  const std::uint64_t wanted = registrations_wanted_;
  MERIDIAN_CO_TRY(auto catalog, co_await load_read_only_catalog(session, deadline));
  const RegistrarOptions options{.database = server_.database(),
                                 .seed = seed_,
                                 .generation = ++generation_,
                                 .uncacheable = uncacheable_};
  MERIDIAN_CO_TRY(Registration registration,
                  co_await register_views(
                      session,
                      [this](std::string role,
                             Deadline until) -> Async<Result<std::unique_ptr<PostgresSession>>> {
                        MERIDIAN_CO_TRY(
                            PostgresOptions login,
                            server_.role_options(shared_.role_keys, role, server_.database()));
                        co_return co_await PostgresSession::connect(loop_, std::move(login), until);
                      },
                      config_.views,
                      options,
                      deadline));
  std::vector<std::string> tables = registration.published;
  tables.emplace_back(revocations_table);
  const PublicationChange published =
      co_await publish_tables(session, "meridian", tables, deadline);
  // What was committed before the publication changed was not brought.
  if (published.changed) feed_.restart();
  if (!published.done) co_return published.done;
  const bool changed = published.changed;
  untraced_.clear();
  if (config_.timeline.attribution == config::Attribution::trigger)
    co_await install_triggers(session, registration.published, deadline);
  MERIDIAN_CO_TRY(auto broken_rules, co_await register_publish_rules(session, config_, deadline));
  for (const BrokenRule& broken : broken_rules) {
    if (std::ranges::find(broken_rules_, broken) != broken_rules_.end()) continue;
    log_error("outbox",
              "changes of a table are not published",
              {{"rule", broken.name}, {"reason", broken.reason}});
  }
  broken_rules_ = std::move(broken_rules);
  for (const BrokenView& broken : registration.broken) {
    log_warning(
        "cache", "a view cannot be read", {{"view", broken.name}, {"reason", broken.reason}});
  }
  broken_ = std::move(registration.broken);
  views_gauge_.set(static_cast<std::int64_t>(registration.views->views().size()));
  broken_gauge_.set(static_cast<std::int64_t>(broken_.size()));

  TimelineFacts facts = *shared_.facts.get();
  facts.views_exist = !registration.views->empty();
  shared_.facts.publish(std::make_shared<const TimelineFacts>(std::move(facts)));
  shared_.catalog.publish(std::move(catalog));
  // Fills for views of before are not kept from here on, so the order of these two does not matter.
  // Not current: the schema changed while it was read, or the feed begins anew and says so again.
  const bool current = seen && !changed && registrations_wanted_ == wanted;
  invalidator_.set_views(registration.views, std::move(registration.tables), current);
  shared_.views.publish(registration.views);
  schema_changed_();
  co_return Result<void>();
}

Async<> TimelineService::install_triggers(PostgresSession& session,
                                          std::vector<std::string> tables,
                                          Deadline deadline) {
  auto installed = co_await install_request_triggers(session, tables, deadline);
  if (installed) {
    untraced_.clear();
    untraced_why_.clear();
    co_return;
  }
  untraced_ = std::move(tables);
  if (installed.error().detail() == untraced_why_) co_return;
  untraced_why_ = installed.error().detail();
  log_warning("timeline",
              "changes of views are not joined with the requests that made them yet",
              {{"reason", untraced_why_}});
}

void TimelineService::schema_changed(Position /*end*/, bool matters) {
  if (matters) {
    // Nothing is proven until the catalogue has been read again.
    shared_.catalog.publish(std::make_shared<const ReadOnlyCatalog>());
  } else if (broken_.empty() && broken_rules_.empty()) {
    return;  // What was added can only matter to a view that waits for it.
  }
  ++registrations_wanted_;
  registration_wanted_.notify_all();
}

Async<> TimelineService::keep_registered() {
  std::uint64_t done = 0;
  Duration pause = gave_way_pause;
  for (;;) {
    if (done == registrations_wanted_) {
      const Deadline again = untraced_.empty() ? Deadline::never() : loop_.after(triggers_pause);
      const Wake wake = co_await registration_wanted_.wait(again);
      if (wake == Wake::cancelled) co_return;
      if (wake == Wake::timeout) {
        const Deadline deadline = loop_.after(setup_timeout);
        auto session = co_await admin_.get(deadline);
        if (session) co_await install_triggers(**session, untraced_, deadline);
        continue;
      }
    }
    const std::uint64_t wanted = registrations_wanted_;
    const Deadline deadline = loop_.after(setup_timeout);
    // The feed is ahead of what can be seen: a change of the schema that was delivered may be
    // invisible to the catalogue's readers yet.
    const Slots& slots = shared_.coherence.slots();
    const Deadline visible = loop_.after(visible_max);
    while (slots.pending(Slots::everything) && !visible.passed(loop_.now())) {
      if (co_await loop_.sleep(visible_pause) != Wake::ready) co_return;
    }
    const bool seen = !slots.pending(Slots::everything);
    auto session = co_await admin_.get(deadline);
    auto registered = session ? co_await register_all(**session, seen, deadline)
                              : std::unexpected(session.error());
    if (registered) {
      // Views are served meanwhile; they are not kept before everything is seen.
      if (seen) done = wanted;
      problem_.reset();
      pause = gave_way_pause;
      continue;
    }
    if (registered.error().code() == Errc::cancelled) co_return;
    // Somebody changes the same tables: what we gave way to is over soon.
    const bool gave_way =
        registered.error().code() == Errc::exhausted || registered.error().code() == Errc::conflict;
    if (gave_way && pause < setup_pause) {
      if (co_await loop_.sleep(pause) != Wake::ready) co_return;
      pause *= 2;
      continue;
    }
    problem_ = registered.error();
    log_warning("cache",
                "the views could not be registered; they are not cached until they are",
                {{"reason", registered.error().detail()}});
    if (co_await loop_.sleep(setup_pause) != Wake::ready) co_return;
  }
}

void TimelineService::reload(config::Config config) {
  config_ = std::move(config);
  scope_.spawn([](TimelineService& self) -> Async<> {
    auto renewed = co_await self.renew_keys(self.loop_.after(setup_timeout));
    if (!renewed)
      log_error(
          "timeline", "new roles have no passwords yet", {{"reason", renewed.error().detail()}});
    ++self.registrations_wanted_;
    self.registration_wanted_.notify_all();
  }(*this));
}

// Each hour, so that what somebody changed by hand mends itself, and when the database has refused
// a role's password: another node has taken up a new secret, or somebody has set another one.
Async<> TimelineService::rotate_keys() {
  for (;;) {
    const Wake wake = co_await shared_.role_keys.wanted(loop_.after(keys_renewed_every));
    if (wake == Wake::cancelled) co_return;
    auto renewed = co_await renew_keys(loop_.after(setup_timeout));
    if (!renewed) {
      log_warning("timeline",
                  "the roles keep their passwords for now",
                  {{"reason", renewed.error().detail()}});
    } else if (wake == Wake::ready) {
      log_warning("timeline", "the roles have passwords anew, since the database refused one");
    }
    // A role that the database refuses whatever its password is makes no storm of renewals.
    if (co_await loop_.sleep(keys_renewed_apart) != Wake::ready) co_return;
  }
}

void TimelineService::keep_head(const trail::SignedHead& head) {
  heads_.insert_or_assign(head.shard, head);
}

Async<> TimelineService::copy_heads() {
  bool complained = false;
  while (co_await loop_.sleep(heads_copied_every) == Wake::ready) {
    if (heads_.empty()) continue;
    const std::map<std::uint32_t, trail::SignedHead> heads = std::exchange(heads_, {});
    const Deadline deadline = loop_.after(setup_timeout);
    for (const auto& [shard, head] : heads) {
      auto session = co_await admin_.get(deadline);
      Result<Rows> written = session ? Result<Rows>() : std::unexpected(session.error());
      if (session) {
        const std::string number = std::to_string(shard);
        const std::string segment = std::to_string(head.segment);
        const std::string sequence = std::to_string(head.sequence);
        const std::string hash = to_hex(head.hash);
        const std::string signature = to_hex(head.signature);
        const std::string time = to_rfc3339(head.time);
        written = co_await (*session)->query(
            "INSERT INTO meridian.trail_heads (node, shard, segment, sequence, hash, signature, "
            "signed_at)"
            " VALUES ($1, $2::int, $3::bigint, $4::bigint, $5, $6, $7::timestamptz)"
            " ON CONFLICT (node, shard) DO UPDATE SET segment = excluded.segment, sequence = "
            "excluded.sequence,"
            " hash = excluded.hash, signature = excluded.signature, signed_at = excluded.signed_at",
            {head.node, number, segment, sequence, hash, signature, time},
            deadline);
      }
      if (!written) {
        // The next head says all that this one says; it is only later.
        if (!std::exchange(complained, true)) {
          log_warning("trail",
                      "heads could not be copied into the database",
                      {{"reason", written.error().detail()}});
        }
        heads_.emplace(shard, head);
      } else {
        complained = false;
      }
    }
  }
}

Async<Result<std::string>> TimelineService::revoke(Revocation revocation,
                                                   std::string by,
                                                   Deadline deadline) {
  MERIDIAN_CO_TRY(PostgresSession * session, co_await admin_.get(deadline));
  const auto optional = [](const std::string& text) {
    return text.empty() ? Parameter() : Parameter(text);
  };
  const std::string until = revocation.until ? to_rfc3339(*revocation.until) : std::string();
  const std::string expires = to_rfc3339(revocation.expires_at);
  // By our clock, which also says when our own tokens were issued.
  const std::string revoked = to_rfc3339(loop_.wall_now());
  MERIDIAN_CO_TRY(const Rows rows,
                  co_await session->query("INSERT INTO meridian.revocations (issuer, subject, "
                                          "token_id, role, reason, revoked_by, until,"
                                          " expires_at, revoked_at) VALUES ($1, $2, $3, $4, $5, "
                                          "$6, $7::timestamptz, $8::timestamptz, "
                                          "$9::timestamptz) RETURNING id",
                                          {optional(revocation.issuer),
                                           optional(revocation.subject),
                                           optional(revocation.token_id),
                                           optional(revocation.role),
                                           Parameter(revocation.reason),
                                           Parameter(by),
                                           optional(until),
                                           Parameter(expires),
                                           Parameter(revoked)},
                                          deadline));
  co_return std::string(rows.text(0, 0));
}

Async<Result<void>> TimelineService::resume_outbox(std::string how, Deadline deadline) {
  MERIDIAN_CO_TRY(PostgresSession * session, co_await admin_.get(deadline));
  MERIDIAN_CO_TRY(
      const Rows rows,
      co_await session->query("UPDATE meridian.outbox_state SET resume = $1 WHERE name ="
                              " 'outbox' AND condition <> '' RETURNING 1",
                              {how},
                              deadline));
  if (rows.empty()) co_return fail(Errc::conflict, "there is no gap to go on behind");
  co_return Result<void>();
}

Async<Result<Rows>> TimelineService::outbox_dead_letters(std::uint32_t count_max,
                                                         Deadline deadline) {
  MERIDIAN_CO_TRY(PostgresSession * session, co_await admin_.get(deadline));
  const std::string count = std::to_string(count_max);
  co_return co_await session->query(
      "SELECT number, id, subject, error, to_char(at AT TIME ZONE 'UTC',"
      " 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), octet_length(payload)"
      " FROM meridian.outbox_dead_letters ORDER BY number DESC LIMIT $1::int",
      {count},
      deadline);
}

void TimelineService::voided(TransactionId transaction,
                             Position end,
                             RequestId request,
                             std::span<const VoidedKey> keys,
                             std::size_t voided_count) {
  keeper_.transaction_delivered();
  trail::Invalidation record{.position = trail::Lsn(end.value),
                             .transaction_id = transaction,
                             .entries = {},
                             .entries_count = voided_count};
  for (const VoidedKey& key : keys) {
    if (!record.entries.push_back({.view = key.view->name, .key = key.key})) break;
  }
  // The change itself has happened; that it cannot be recorded is said where it can be.
  auto recorded = shared_.trail.append({VisitId(), request}, record);
  if (!recorded) {
    log_error(
        "trail", "an invalidation could not be recorded", {{"reason", recorded.error().detail()}});
  }
}

void TimelineService::feed_lost() {
  // What happens to the schema meanwhile is never delivered.
  shared_.coherence.pause_caching();
}

void TimelineService::feed_resumed(Position position) {
  schema_changed(position, true);
  keeper_.transaction_delivered();
  // What was said of the schema while there was no feed was not heard.
  ++registrations_wanted_;
  registration_wanted_.notify_all();
}

TimelineService::Status TimelineService::status() const {
  return {.set_up = set_up_,
          .streaming = feed_.streaming(),
          .serving = shared_.coherence.serving(),
          .pending = shared_.coherence.pending_count(),
          .applied = shared_.coherence.applied(),
          .problem = problem_ ? problem_->detail() : feed_.last_error()};
}

}  // namespace meridian
