#pragma once
// A lease: the right to do a piece of work that has one owner at a time, kept in the database.
//
// The expiry, by the database's clock, only says when another may take it. What keeps an owner of
// before from writing is the epoch, which grows with each acquisition: each of its transactions
// calls meridian.fence(name, epoch), which fails once the epoch is not the present one, and makes
// the next owner's acquisition wait for the transaction's end. So a node that was killed and runs
// again need not wait for the expiry of what it held itself; another one must.
//
// Belongs to one loop. close() before it ends.

#include "base/result.h"
#include "runtime/event.h"
#include "runtime/scope.h"
#include "timeline/statements.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace meridian {

// SQLSTATE of meridian.fence() where the epoch is not the present one; to_errc() makes it denied.
inline constexpr std::string_view lease_lost_sqlstate = "MLEAS";

// A process of a node.
struct NodeRun {
  std::string node;          // Nobody else's name.
  std::uint64_t number = 0;  // Grows with each process; those of smaller ones have ended.
};

struct LeaseOptions {
  std::string name;   // Of the work: "outbox".
  std::string owner;  // The node: nobody else's name.
  // Of the node's process. Those with a smaller number have ended, so what they held is given back
  // for them. Zero: the owner is one run and knows of no others.
  std::uint64_t run = 0;
  Duration ttl = std::chrono::seconds(10);
  Duration retry = std::chrono::seconds(1);  // Between attempts while another has it.
};

class Lease {
 public:
  // `statements` runs as the owner of the schema meridian, and outlives the lease.
  Lease(Loop& loop, Statements& statements, LeaseOptions options);
  ~Lease();

  // Tries to get it, keeps it, and tries again when it was lost, until close().
  void start() { scope_.spawn(run()); }

  // True from an acquisition until it is known or likely that another may have taken it.
  bool held() const noexcept { return held_; }

  // Of the last acquisition; zero before the first.
  std::uint64_t epoch() const noexcept { return epoch_; }

  // Who had it when it was last asked for in vain; empty when nobody was in the way.
  const std::string& holder() const noexcept { return holder_; }
  const std::optional<Error>& last_error() const noexcept { return last_error_; }
  const std::string& name() const noexcept { return options_.name; }

  // Waits until held() is `wanted`. Errors: timeout, cancelled.
  Async<Result<void>> becomes(bool wanted, Deadline deadline);

  // For whom a fenced statement failed: the lease is not held, and is tried for again.
  void lose() noexcept;

  // Gives it back, so that another need not wait for its expiry.
  Async<> close();

 private:
  Async<> run();
  Async<Result<void>> give_back_earlier();
  Async<Result<bool>> acquire();
  Async<Result<bool>> renew();
  void set_held(bool held) noexcept;

  Loop& loop_;
  Statements& statements_;
  LeaseOptions options_;
  std::string ttl_text_;
  std::string owner_text_;  // Of the run.
  bool earlier_given_back_;
  std::uint64_t epoch_ = 0;
  bool held_ = false;
  Time good_until_{};  // By our clock, counted from before the question was sent.
  std::string holder_;
  std::optional<Error> last_error_;
  Event changed_;
  Event woken_;
  Scope scope_;
};

}  // namespace meridian
