#pragma once
// The timeline's upkeep on the main loop: the schema, the roles' passwords, the views, the feed and
// what follows it.
//
// It brings the database into the state that a node needs, and keeps it there through restarts and
// changes of the schema. Until that was reached once, ready() waits: no door is open before.

#include "app/config/config.h"
#include "app/outbox_rules.h"
#include "app/postgres_server.h"
#include "app/revocation_feed.h"
#include "app/view_registrar.h"
#include "base/metrics.h"
#include "cache/coherence.h"
#include "cache/invalidator.h"
#include "cache/keeper.h"
#include "doors/postgres/parts.h"
#include "gate/trail/head.h"
#include "gate/trail/trail_writer.h"
#include "runtime/published.h"
#include "timeline/postgres/feed.h"
#include "timeline/postgres/positions.h"
#include "timeline/postgres/role_keys.h"
#include "timeline/read_only_catalog.h"

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace meridian {

// What the service keeps up to date for the loops. All of it outlives the service.
struct TimelineShared {
  Coherence& coherence;
  Published<ViewSet>& views;
  Published<ReadOnlyCatalog>& catalog;
  Published<TimelineFacts>& facts;
  RoleKeys& role_keys;
  Revocations& revocations;
  trail::TrailWriter& trail;  // Of the main loop.
  Metrics& metrics;
};

class TimelineService final : public InvalidationListener {
 public:
  // `schema_changed` is called when plans may be wrong: sessions that fill views are to be made
  // again.
  TimelineService(EpollLoop& loop,
                  TimelineShared shared,
                  PostgresServer server,
                  config::Config config,
                  std::function<void()> schema_changed);
  ~TimelineService() override;

  void start() {
    scope_.spawn(run());
    scope_.spawn(rotate_keys());  // Views that are registered during the setup log in, too.
  }

  // Waits until the first setup has succeeded. Errors: what keeps it from it, if that will not mend
  // by itself or when the deadline passes.
  Async<Result<void>> ready(Deadline deadline);

  // Takes over roles and views of a new configuration.
  void reload(config::Config config);

  // Writes a row into meridian.revocations; the feed brings it to every node. Returns its id.
  Async<Result<std::string>> revoke(Revocation revocation, std::string by, Deadline deadline);

  // Asks whoever owns the outbox to go on behind a gap: "republish" or "skip". Errors: conflict,
  // when there is no gap.
  Async<Result<void>> resume_outbox(std::string how, Deadline deadline);

  // What could not become messages, the newest first: number, id, subject, error, time, payload's
  // size.
  Async<Result<Rows>> outbox_dead_letters(std::uint32_t count_max, Deadline deadline);

  // The newest signed head of a shard, to be copied into the database.
  void keep_head(const trail::SignedHead& head);

  const PostgresServer& server() const noexcept { return server_; }
  const std::vector<BrokenView>& broken_views() const noexcept { return broken_; }

  // Rules under `publish` that do not count as they are.
  const std::vector<BrokenRule>& broken_rules() const noexcept { return broken_rules_; }

  struct Status {
    bool set_up = false;
    bool streaming = false;
    bool serving = false;
    std::size_t pending = 0;
    Position applied;
    std::string problem;  // The last one; empty when there is none.
  };
  Status status() const;

  Async<> close();

 private:
  // The feed tells both.
  class FanOut;

  Async<> run();
  Async<Result<void>> set_up();
  Async<Result<void>> make_databases(Deadline deadline);
  Async<Result<void>> check_server(PostgresSession& session, Deadline deadline);
  Async<Result<void>> renew_keys(Deadline deadline);
  Async<Result<void>> read_secret(PostgresSession& session, Deadline deadline);
  // `seen`: what the feed delivered of the schema can be seen, so that what is read is current.
  Async<Result<void>> register_all(PostgresSession& session, bool seen, Deadline deadline);
  Async<> install_triggers(PostgresSession& session,
                           std::vector<std::string> tables,
                           Deadline deadline);
  Async<> keep_registered();
  Async<> rotate_keys();
  Async<> copy_heads();
  Async<Result<void>> check_standby(PostgresSession& session, Deadline deadline);

  void voided(TransactionId transaction,
              Position end,
              RequestId request,
              std::span<const VoidedKey> keys,
              std::size_t voided_count) override;
  void schema_changed(Position end, bool matters) override;
  void feed_lost() override;
  void feed_resumed(Position position) override;

  EpollLoop& loop_;
  TimelineShared shared_;
  PostgresServer server_;
  config::Config config_;
  std::function<void()> schema_changed_;

  SessionKeeper admin_;
  PostgresPositions positions_;
  Invalidator invalidator_;
  RevocationFeed revocation_feed_;
  std::unique_ptr<FanOut> fan_out_;
  Keeper keeper_;
  PostgresFeed feed_;

  std::uint64_t generation_ = 0;
  std::uint64_t seed_;
  std::uint64_t registrations_wanted_ = 0;
  std::string uncacheable_;  // Why nothing may be cached.
  std::vector<BrokenView> broken_;
  std::vector<std::string> untraced_;  // Tables that lack the trigger for requests.
  std::string untraced_why_;
  std::vector<BrokenRule> broken_rules_;
  bool set_up_ = false;
  std::optional<Error> problem_;
  std::map<std::uint32_t, trail::SignedHead> heads_;  // Not copied yet, by shard.

  Event set_up_done_;
  Event registration_wanted_;
  Gauge& views_gauge_;
  Gauge& broken_gauge_;
  Scope scope_;
};

}  // namespace meridian
