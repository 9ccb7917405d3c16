#include "app/outbox_service.h"

#include "app/outbox_rules.h"
#include "runtime/call_on.h"
#include "runtime/log.h"
#include "streams/lease.h"
#include "streams/outbox_commits.h"
#include "streams/outbox_sink.h"
#include "streams/outbox_store.h"
#include "timeline/postgres/feed.h"
#include "timeline/postgres/kept_statements.h"
#include "timeline/postgres/long_statements.h"
#include "timeline/postgres/positions.h"

#include <fmt/format.h>
#include <utility>

namespace meridian {
namespace {

constexpr std::string_view lease_name = "outbox";

OutboxOptions to_options(const config::OutboxConfig& config) {
  return {.stream = config.stream,
          .keep = config.keep,
          .in_flight_max = config.in_flight_max,
          .alarm_rows = config.alarm_rows,
          .alarm_age = config.alarm_age};
}

}  // namespace

// Lives on the outbox's loop.
class OutboxService::Worker {
 public:
  Worker(EpollLoop& loop, OutboxServiceParts& parts, std::vector<std::string> subjects)
      : loop_(loop),
        parts_(parts),
        statements_(loop, [this] { return session_options(); }),
        reading_(loop, [this] { return session_options(); }),
        marking_(loop, [this] { return session_options(); }),
        slow_(loop, [this] { return session_options(); }),
        leases_(loop, [this] { return session_options(); }),
        positions_(loop, [this] { return session_options(); }),
        connector_(loop, parts.blocking, parts.nats, parts.metrics),
        store_({.numbering = statements_, .reading = reading_, .marking = marking_, .slow = slow_},
               std::string(lease_name)),
        sink_(loop,
              connector_,
              {.stream = parts.config.stream,
               .subjects = std::move(subjects),
               .duplicate_window = parts.config.duplicate_window,
               .replicas = parts.config.replicas,
               .age_max = parts.config.max_age}),
        commits_(loop),
        lease_(loop,
               leases_,
               {.name = std::string(lease_name), .owner = parts.run.node, .run = parts.run.number}),
        outbox_(
            loop,
            store_,
            sink_,
            commits_,
            [this](const OutboxPublication& publication) { return record(publication); },
            parts.metrics,
            to_options(parts.config)),
        scope_(loop) {}

  void start() {
    lease_.start();
    scope_.spawn(run());
  }

  void set_subjects(std::vector<std::string> subjects) {
    sink_.set_subjects(std::move(subjects));
    outbox_.reopen();
  }

  Status status() const {
    return {.begun = true,
            .owner = lease_.held(),
            .owner_name = lease_.holder(),
            .outbox = outbox_.status(),
            .lease_problem = lease_.last_error() ? lease_.last_error()->detail() : std::string()};
  }

  Async<> close() {
    co_await scope_.close();
    co_await lease_.close();
    co_await positions_.close();
    co_await leases_.close();
    co_await slow_.close();
    co_await marking_.close();
    co_await reading_.close();
    co_await statements_.close();
  }

 private:
  Result<PostgresOptions> session_options() const {
    PostgresOptions options = parts_.admin_session();
    options.application_name = "meridian outbox";
    // Rows are looked up by id in a table that is nearly empty at times and huge at others; plans
    // that were made for the one are ruinous for the other.
    options.settings =
        "-c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off"
        " -c jit=off"
        // The feed brings payloads as texts too.
        " -c bytea_output=hex";
    return options;
  }

  Result<void> record(const OutboxPublication& publication) {
    return parts_.trail.append(
        {.visit = {}, .request = publication.request},
        trail::OutboxPublication{.stream = publication.stream,
                                 .subject = publication.subject,
                                 .first_number = publication.first_number,
                                 .messages_count = publication.count,
                                 .bytes = publication.bytes,
                                 .expected_sequence = publication.expected_sequence});
  }

  Async<> run() {
    for (;;) {
      auto held = co_await lease_.becomes(true, Deadline::never());
      if (!held) co_return;
      store_.set_epoch(lease_.epoch());
      PostgresFeed feed(loop_,
                        [this] { return session_options(); },
                        positions_,
                        commits_,
                        parts_.metrics,
                        {.publication = std::string(outbox_publication),
                         .name = "outbox",
                         .labels = {{"feed", "outbox"}},
                         .when_broken = "the outbox looks at its table until it is back",
                         .streaming = false});
      feed.start();
      Scope watching(loop_);
      bool cancelled = false;
      {
        // Whoever loses the lease stops, also where nothing of his was refused yet.
        Scope serving(loop_);
        Event over(loop_);
        std::optional<Error> why;
        serving.spawn([](Worker& self, Event& done, std::optional<Error>& ended) -> Async<> {
          ended = co_await self.outbox_.serve();
          done.set();
        }(*this, over, why));
        watching.spawn([](Worker& self, Event& done) -> Async<> {
          if (co_await self.lease_.becomes(false, Deadline::never())) done.set();
        }(*this, over));
        cancelled = co_await over.wait() == Wake::cancelled;
        const Shield shield(co_await this_fibre());
        co_await serving.close();
        co_await watching.close();
        co_await feed.close();
        if (why && why->code() != Errc::cancelled) {
          log_warning("outbox", "begins anew", {{"reason", why->detail()}});
        }
      }
      if (cancelled) co_return;
      commits_.lost();
      lease_.lose();
      constexpr Duration pause = std::chrono::milliseconds(100);
      if (co_await loop_.sleep(pause) != Wake::ready) co_return;
    }
  }

  EpollLoop& loop_;
  OutboxServiceParts& parts_;
  KeptStatements statements_;
  KeptStatements reading_;
  KeptStatements marking_;
  LongStatements slow_;
  KeptStatements leases_;
  PostgresPositions positions_;
  nats::Connector connector_;
  SqlOutboxStore store_;
  JetStreamSink sink_;
  OutboxCommits commits_;
  Lease lease_;
  Outbox outbox_;
  Scope scope_;
};

OutboxService::OutboxService(LoopThread& thread, OutboxServiceParts parts)
    : thread_(thread), parts_(std::move(parts)) {}

OutboxService::~OutboxService() = default;

Async<Result<OutboxService::Status>> OutboxService::status() {
  co_return co_await call_on(thread_.loop(),
                             [this] { return worker_ ? worker_->status() : Status(); });
}

void OutboxService::set_subjects(std::vector<std::string> subjects) {
  if (subjects == subjects_) return;
  subjects_ = subjects;
  thread_.loop().submit([this, subjects = std::move(subjects)]() mutable {
    if (worker_) return worker_->set_subjects(std::move(subjects));
    worker_ = std::make_unique<Worker>(thread_.loop(), parts_, std::move(subjects));
    worker_->start();
  });
}

Async<> OutboxService::close(Loop& home) {
  auto closed = std::make_shared<Event>(home);
  auto closer = std::make_shared<std::unique_ptr<Scope>>();
  thread_.loop().submit([this, closed, closer, &home] {
    *closer = std::make_unique<Scope>(thread_.loop());
    (*closer)->spawn([](OutboxService& self, Loop& main, std::shared_ptr<Event> done) -> Async<> {
      if (self.worker_) co_await self.worker_->close();
      main.submit([done] { done->set(); });
    }(*this, home, closed));
  });
  (void)co_await closed->wait();
  thread_.stop();
  closer->reset();
  worker_.reset();
}

}  // namespace meridian
