#include "timeline/postgres/feed.h"

#include "runtime/log.h"
#include "timeline/postgres/boot.h"
#include "timeline/postgres/positions.h"
#include "wire/postgres/replication.h"

#include <algorithm>
#include <array>
#include <utility>

namespace meridian {
namespace {

constexpr Duration setup_timeout = std::chrono::seconds(10);

// Making a slot waits for the transactions that are writing to end, however long they take.
constexpr Duration slot_timeout = std::chrono::minutes(10);

constexpr Duration engage_timeout = std::chrono::seconds(10);
constexpr Duration withdraw_timeout = std::chrono::seconds(5);
constexpr int messages_before_yield = 1'024;

}  // namespace

PostgresFeed::PostgresFeed(EpollLoop& loop,
                           SessionKeeper::Options session,
                           PositionSource& positions,
                           FeedConsumer& consumer,
                           Metrics& metrics,
                           PostgresFeedOptions options)
    : loop_(loop),
      session_options_(std::move(session)),
      positions_(positions),
      consumer_(consumer),
      options_(std::move(options)),
      connected_(metrics.gauge(
          "meridian_feed_connected", "1 while the feed is streaming.", options_.labels)),
      lag_bytes_(metrics.gauge("meridian_feed_lag_bytes",
                               "Log that the server has and the feed has not applied.",
                               options_.labels)),
      restarts_(metrics.counter("meridian_feed_restarts_total",
                                "Times the feed began anew; each empties the cache.",
                                options_.labels)),
      messages_(metrics.counter(
          "meridian_feed_messages_total", "Messages read from the feed.", options_.labels)),
      delay_(metrics.histogram("meridian_feed_delay_seconds",
                               "From a commit, by the server's clock, to its delivery here.",
                               options_.labels)),
      standby_(loop, session_options_, options_.application_name),
      slot_watch_(loop, session_options_),
      scope_(loop) {}

PostgresFeed::~PostgresFeed() = default;

Async<> PostgresFeed::close() {
  co_await scope_.close();
  if (options_.confirms && claimed_) {
    // Nobody serves any more, so nobody has to wait. A node that dies leaves them waiting: another
    // may be serving still.
    consumer_.lost();
    const Shield shield(co_await this_fibre());
    auto withdrawn = co_await standby_.withdraw_at_end(loop_.after(withdraw_timeout));
    if (!withdrawn) {
      log_warning("feed",
                  "the database's commits still wait for this node",
                  {{"reason", withdrawn.error().detail()}});
    }
  }
  co_await slot_watch_.close();
  co_await standby_.close();
}

Async<> PostgresFeed::run() {
  Duration backoff = Duration::zero();
  for (;;) {
    consumer_.lost();
    const Time begun = loop_.now();
    auto ended = co_await stream();
    streaming_ = false;
    connected_.set(0);
    if (ended.error().code() == Errc::cancelled) co_return;
    restarts_.add();
    // A stream that held for a while earns a quick second try.
    constexpr Duration healthy = std::chrono::seconds(10);
    backoff = loop_.now() - begun > healthy
                  ? Duration::zero()
                  : std::clamp<Duration>(
                        backoff * 2, std::chrono::milliseconds(20), options_.backoff_max);
    if (restart_due_) {
      log_info("feed", "the feed starts again, for what is published has changed");
      restart_due_ = false;
      last_error_ = ended.error().detail();
    } else if (last_error_ != ended.error().detail()) {
      last_error_ = ended.error().detail();
      log_warning("feed",
                  "the feed broke; " + options_.when_broken,
                  {{"feed", options_.name}, {"reason", last_error_}});
    }
    consumer_.lost();
    if (co_await loop_.sleep(backoff) == Wake::cancelled) co_return;
  }
}

Async<Result<void>> PostgresFeed::stream() {
  MERIDIAN_CO_TRY(PostgresOptions options, session_options_());
  options.replication = true;
  options.application_name = options_.application_name;
  MERIDIAN_CO_TRY(
      auto session,
      co_await PostgresSession::connect(loop_, std::move(options), loop_.after(setup_timeout)));
  auto copied = co_await copy(*session);
  const Shield shield(co_await this_fibre());
  co_await session->close();
  co_return copied;
}

Async<Result<void>> PostgresFeed::copy(PostgresSession& session) {
  decoder_ = {};
  relations_.clear();
  const std::uint64_t restarts_wanted = restarts_wanted_;
  MERIDIAN_CO_TRY(const Rows identity,
                  co_await session.command(boot_query, loop_.after(setup_timeout)));
  MERIDIAN_CO_TRY(const ServerIdentity server, identity_of(identity));

  MERIDIAN_CO_TRY(const Rows claimed,
                  co_await session.command(SynchronousStandby::claim(options_.confirms),
                                           loop_.after(setup_timeout)));
  if (!claimed.flag(0, 0)) {
    co_return fail(Errc::unavailable,
                   options_.confirms
                       ? "another node is there, and with commit_wait: database a node must be "
                         "alone; stop it, or take commit_wait: door for all"
                       : "another node is there with commit_wait: database, which must be alone; "
                         "stop it, or take commit_wait: door for all");
  }
  claimed_ = true;

  MERIDIAN_CO_CHECK(options_.confirms
                        ? co_await standby_.withdraw(loop_.after(setup_timeout))
                        : co_await standby_.withdraw_remains(loop_.after(setup_timeout)));

  // The position is fixed here: every commit after the slot's consistent point will be delivered.
  const std::string slot = "meridian_" + std::to_string(loop_.random().next());
  MERIDIAN_CO_TRY(const Rows made,
                  co_await slot_watch_.guard(
                      session.command("CREATE_REPLICATION_SLOT " + slot +
                                          " TEMPORARY LOGICAL pgoutput (SNAPSHOT 'nothing')",
                                      loop_.after(slot_timeout)),
                      [&] { return session.process_id(); }));
  MERIDIAN_CO_TRY(applied_, parse_position(made.text(0, 1)));
  server_end_ = applied_;
  MERIDIAN_CO_TRY(
      const Rows started,
      co_await session.command("START_REPLICATION SLOT " + slot +
                                   " LOGICAL 0/0 (proto_version '2', publication_names '" +
                                   options_.publication + "', streaming '" +
                                   (options_.streaming ? "on" : "off") + "', messages '" +
                                   (options_.streaming ? "true" : "false") + "')",
                               loop_.after(setup_timeout)));

  // Commits that did not wait for us are behind this position; the cache must not hold what is
  // older.
  Position resume_at = applied_;
  if (options_.confirms) {
    MERIDIAN_CO_CHECK(co_await standby_.engage(loop_.after(engage_timeout)));
    MERIDIAN_CO_TRY(const auto flushed, co_await positions_.flushed(loop_.after(setup_timeout)));
    MERIDIAN_CO_CHECK(check_boot(flushed.boot, server.boot));
    resume_at = flushed.value;
  }

  heard_at_ = loop_.now();
  Time next_status = loop_.now() + options_.status_interval;
  for (;;) {
    int taken = 0;
    for (; taken < messages_before_yield; ++taken) {
      MERIDIAN_CO_TRY(const auto message, session.try_receive());
      if (!message) break;
      MERIDIAN_CO_CHECK(take(*message));
    }
    if (taken != 0) {
      heard_at_ = loop_.now();
      lag_bytes_.set(
          static_cast<std::int64_t>(server_end_.value - std::min(server_end_, applied_).value));
    }
    if (!streaming_ && applied_.value >= resume_at.value) {
      MERIDIAN_CO_CHECK(co_await resume(server.boot));
    }
    if (restarts_wanted != restarts_wanted_) {
      restart_due_ = true;
      co_return fail(Errc::unavailable, "what is published has changed");
    }
    const Time now = loop_.now();
    if (now >= next_status || answer_wanted_ || (confirm_wanted_ && options_.confirms)) {
      if (now - heard_at_ > options_.silence_max) {
        co_return fail(Errc::unavailable,
                       "the server has been silent for " + to_text(now - heard_at_));
      }
      MERIDIAN_CO_CHECK(send_status(session, now >= next_status));
      if (now >= next_status) next_status = now + options_.status_interval;
    }
    if (taken == messages_before_yield) {
      if (co_await loop_.yield() == Wake::cancelled) co_return fail(Errc::cancelled);
    } else if (co_await session.receivable(Deadline::at(next_status)) == Wake::cancelled) {
      co_return fail(Errc::cancelled);
    }
  }
}

Async<Result<void>> PostgresFeed::resume(BootId boot) {
  // After the position, and from the same incarnation of the server, or its transaction ids mean
  // nothing.
  MERIDIAN_CO_TRY(const auto snapshot, co_await positions_.snapshot(loop_.after(setup_timeout)));
  MERIDIAN_CO_CHECK(check_boot(snapshot.boot, boot));
  consumer_.resumed(boot, applied_, snapshot.value);
  streaming_ = true;
  connected_.set(1);
  if (!last_error_.empty())
    log_info("feed", "the feed is streaming again", {{"feed", options_.name}});
  last_error_.clear();
  co_return Result<void>();
}

Result<void> PostgresFeed::check_boot(BootId answered, BootId streams) {
  if (answered == streams) return {};
  positions_.reconnect();
  return fail(Errc::unavailable, "the feed and the questions about it reach two different servers");
}

Result<void> PostgresFeed::send_status(PostgresSession& session, bool ask) {
  answer_wanted_ = false;
  confirm_wanted_ = false;
  // Without the need to confirm we stay a byte behind: the server then sends its position before
  // each pause, also past commits that are not published, and commit-wait need not be nudged.
  const postgres::Lsn confirmed{applied_.value - (options_.confirms ? 0 : 1)};
  std::string message;
  postgres::append_standby_status(message,
                                  {.written = confirmed,
                                   .flushed = confirmed,
                                   .applied = confirmed,
                                   .sent_at = loop_.wall_now(),
                                   .reply_requested = ask});
  // The codec frames a whole CopyData; libpq frames the payload itself.
  constexpr std::size_t header_size = 5;
  return session.send(std::string_view(message).substr(header_size));
}

Result<void> PostgresFeed::take(std::string_view message) {
  messages_.add();
  MERIDIAN_TRY(const auto parsed, postgres::parse_replication_message(message));
  if (const auto* const keepalive = std::get_if<postgres::Keepalive>(&parsed)) {
    server_end_.value = std::max(server_end_.value, keepalive->end.value);
    answer_wanted_ = answer_wanted_ || keepalive->reply_requested;
    if (keepalive->end.value > applied_.value) {
      applied_.value = keepalive->end.value;
      if (streaming_) consumer_.advanced(applied_);
      confirm_wanted_ = true;
    }
    return {};
  }
  const auto& data = std::get<postgres::XLogData>(parsed);
  server_end_.value = std::max(server_end_.value, data.end.value);
  MERIDIAN_TRY(const postgres::Change change, decoder_.decode(data.data));
  return apply(change);
}

Result<void> PostgresFeed::apply(const postgres::Change& change) {
  const auto finish = [&](TransactionId transaction, postgres::Lsn end, WallTime at) {
    applied_.value = std::max(applied_.value, end.value);
    if (streaming_) {
      consumer_.committed(transaction, Position{end.value}, at);
    } else {
      consumer_.aborted(transaction);  // All that it could void is gone as well.
    }
    confirm_wanted_ = true;
    delay_.observe(loop_.wall_now() - at);
  };
  return std::visit(
      [&](const auto& message) -> Result<void> {
        using Message = std::remove_cvref_t<decltype(message)>;
        if constexpr (std::is_same_v<Message, postgres::Begin> ||
                      std::is_same_v<Message, postgres::StreamStart>) {
          transaction_ = message.xid;
        } else if constexpr (std::is_same_v<Message, postgres::Commit>) {
          finish(transaction_, message.end_lsn, message.committed_at);
        } else if constexpr (std::is_same_v<Message, postgres::StreamCommit>) {
          finish(message.xid, message.end_lsn, message.committed_at);
        } else if constexpr (std::is_same_v<Message, postgres::StreamAbort>) {
          if (message.xid == message.subtransaction) consumer_.aborted(message.xid);
        } else if constexpr (std::is_same_v<Message, postgres::Relation>) {
          describe(message);
        } else if constexpr (std::is_same_v<Message, postgres::Insert>) {
          return changed(message.relation, nullptr, &message.row);
        } else if constexpr (std::is_same_v<Message, postgres::Update>) {
          return changed(
              message.relation, message.before ? &*message.before : nullptr, &message.row);
        } else if constexpr (std::is_same_v<Message, postgres::Delete>) {
          return changed(message.relation, &message.before, nullptr);
        } else if constexpr (std::is_same_v<Message, postgres::Truncate>) {
          std::vector<const Relation*> relations;
          for (std::size_t i = 0; i < message.relations.size(); ++i) {
            const auto found = relations_.find(message.relations[i]);
            if (found == relations_.end())
              return fail(Errc::invalid, "TRUNCATE of a table not described");
            relations.push_back(&found->second.relation);
          }
          consumer_.truncated(transaction_, relations);
        } else if constexpr (std::is_same_v<Message, postgres::LogicalMessage>) {
          if (message.transactional) {
            consumer_.message(transaction_, message.prefix, message.content);
          }
        }
        return {};
      },
      change.message);
}

void PostgresFeed::describe(const postgres::Relation& message) {
  Described& described = relations_[message.id];
  described.relation =
      Relation{.id = message.id,
               .schema = std::string(message.schema),
               .table = std::string(message.name),
               .columns = {},
               .whole_old_rows = message.identity == postgres::ReplicaIdentity::full};
  described.key.clear();
  for (const postgres::RelationColumn& column : message.columns) {
    described.relation.columns.emplace_back(column.name);
    described.key.push_back(column.key);
  }
}

Result<void> PostgresFeed::changed(std::uint32_t relation,
                                   const postgres::OldTuple* before,
                                   const postgres::Tuple* after) {
  const auto found = relations_.find(relation);
  if (found == relations_.end()) return fail(Errc::invalid, "a change of a table not described");
  const Described& described = found->second;
  before_.clear();
  after_.clear();
  if (before) {
    const bool whole = before->kind == postgres::OldTuple::Kind::whole;
    read_cells(before->tuple, whole ? nullptr : &described.key, before_);
  }
  if (after) read_cells(*after, nullptr, after_);
  consumer_.changed(transaction_,
                    {.relation = described.relation, .before = before_, .after = after_});
  return {};
}

void PostgresFeed::read_cells(const postgres::Tuple& tuple,
                              const std::vector<bool>* only,
                              std::vector<Cell>& cells) const {
  std::size_t index = 0;
  for (const postgres::TupleColumn column : tuple) {
    const bool sent = !only || (index < only->size() && (*only)[index]);
    ++index;
    if (!sent) {
      cells.push_back({});
    } else if (column.kind == postgres::TupleColumn::Kind::null) {
      cells.push_back({.kind = Cell::Kind::null, .text = {}});
    } else if (column.kind == postgres::TupleColumn::Kind::text) {
      cells.push_back({.kind = Cell::Kind::text, .text = column.bytes});
    } else {
      cells.push_back({.kind = Cell::Kind::unchanged, .text = {}});
    }
  }
}

}  // namespace meridian
