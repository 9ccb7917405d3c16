#pragma once
// A LinkPool: one loop's connections to Redis.
//
// Shared links stand all the time, for each protocol version, and carry whatever leaves nothing
// behind on its connection; when one is lost it is made anew, with a growing pause. Exclusive links
// are leased to visits that subscribe, block, watch or open a transaction; they go to another visit
// only after a reset that was verified, and are closed otherwise.
//
// Belongs to one loop. start() it; close() it before it ends. It outlives exchanges and leases.

#include "pool/redis/connector.h"
#include "pool/redis/link.h"
#include "pool/redis/permits.h"
#include "runtime/scope.h"
#include "wire/resp/protocol.h"

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace meridian::redis {

struct LinkPoolOptions {
  std::size_t shared_links_count = 1;  // For each protocol version.
  std::size_t exclusive_max = 256;     // Leased, or being reset.
  std::size_t exclusive_idle_max = 8;  // For each protocol version, kept for the next lease.
  Duration connect_timeout = std::chrono::seconds(5);  // Login included.
  Duration reset_timeout = std::chrono::seconds(1);
  Duration reconnect_pause_min = std::chrono::milliseconds(10);
  Duration reconnect_pause_max = std::chrono::seconds(1);
  std::string client_name = "meridian";  // In CLIENT LIST; no blanks.
  LinkLimits limits{};
};

class LinkPool {
 public:
  class Lease;

  static constexpr std::size_t own_reply_bytes_max = 16 << 20;  // COMMAND of Redis 7 has 90 KB.

  LinkPool(Loop& loop, RedisConnector& connector, Metrics& metrics, LinkPoolOptions options = {});
  LinkPool(const LinkPool&) = delete;
  LinkPool& operator=(const LinkPool&) = delete;
  ~LinkPool();

  // Begins to connect the shared links.
  void start();

  // Ends all links; who waits for replies gets an error. Later calls find nothing.
  Async<> close();

  // Where requests of this exchange go now: the link that it waits on, or owns; else the shared
  // link on which the fewest wait. Null when that has no room, or none stands. Good until the
  // caller's next co_await. Requests that must keep their order with those of another exchange go
  // to that one's link().
  Link* link_for(const Exchange& exchange, resp::Protocol protocol) noexcept;

  // Waits for it. Errors: what the exchange has failed with; unavailable, with the last attempt's
  // reason, when no link stood until the deadline; exhausted when there was no room; cancelled.
  Async<Result<Link*>> wait_for_link(Exchange& exchange,
                                     resp::Protocol protocol,
                                     Deadline deadline);

  // A shared link stands: Redis can be reached.
  bool connected(resp::Protocol protocol) noexcept { return best_link(protocol) != nullptr; }

  // An exclusive link, used before and verified, or new. Errors: exhausted (exclusive_max are in
  // use until the deadline), and what connecting gives.
  Async<Result<Lease>> lease(resp::Protocol protocol, Deadline deadline);

  // One request of our own on a shared link, and its raw reply (RESP2). For INFO, COMMAND and their
  // kind. `request` must outlive the call. Errors: unavailable, timeout, outcome_unknown,
  // cancelled, exhausted (own_reply_bytes_max).
  Async<Result<std::string>> call(std::string_view request, Effect effect, Deadline deadline);

  // Closes every link that stands now, leased ones when they come back: the server was replaced.
  void renew() noexcept;

 private:
  struct Slot {
    resp::Protocol protocol;
    std::shared_ptr<Link> link{};  // Null while there is none.
  };
  struct Kept {
    std::shared_ptr<Link> link;
    resp::Protocol protocol;
    std::uint64_t generation;
  };

  Link* best_link(resp::Protocol protocol) noexcept;
  Async<> keep_shared(Slot& slot);
  Async<Result<std::shared_ptr<Link>>> open_link(resp::Protocol protocol,
                                                 Link::Kind kind,
                                                 Deadline deadline);
  Async<> serve_exclusive(std::shared_ptr<Link> link);
  std::shared_ptr<Link> take_idle(resp::Protocol protocol) noexcept;
  void give_back(Kept kept, Permit permit);
  Async<> reset_and_keep(Kept kept, Permit permit);
  Async<Result<void>> reset(Kept& kept);
  Duration pause_after(std::uint64_t failures_count);

  Loop& loop_;
  RedisConnector& connector_;
  LinkPoolOptions options_;
  LinkGround ground_;
  std::uint64_t generation_ = 0;
  bool closed_ = false;
  std::vector<Slot> slots_;
  std::vector<Kept> idle_;
  Permits permits_;
  Error last_failure_{Errc::unavailable, "no connection to Redis has been tried yet"};
  Counter& connects_;
  Counter& connect_failures_;
  Counter& links_lost_;
  Counter& resets_failed_;
  Gauge& shared_links_;
  Gauge& exclusive_links_;
  Histogram& link_wait_;
  Histogram& lease_wait_;
  Scope scope_;
};

// The use of an exclusive link. Gives it back when it ends, which waits for nothing.
class LinkPool::Lease {
 public:
  Lease() = default;
  Lease(Lease&&) noexcept = default;
  Lease& operator=(Lease&& other) noexcept;
  ~Lease() { give_back(); }

  explicit operator bool() const noexcept { return kept_.link != nullptr; }
  Link& link() noexcept { return *kept_.link; }
  void give_back() noexcept;

 private:
  friend class LinkPool;
  Lease(LinkPool& pool, Kept kept, Permit permit) noexcept
      : pool_(&pool), kept_(std::move(kept)), permit_(std::move(permit)) {}

  LinkPool* pool_ = nullptr;
  Kept kept_{};
  Permit permit_;
};

}  // namespace meridian::redis
