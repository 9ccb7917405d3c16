#pragma once
// The passwords of the database's login roles: made here from a secret that only the owner of the
// schema meridian can read, the same on all nodes, and known to nobody else.
//
// Only their SCRAM verifiers are sent to the database. A session that stands is not touched by a
// renewal.

#include "base/metrics.h"
#include "base/result.h"
#include "base/secret.h"
#include "runtime/deadline.h"
#include "runtime/event.h"
#include "timeline/postgres/session.h"

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace meridian {

class RoleKeys {
 public:
  struct Managed {
    std::string role;
    bool create_missing = false;
  };

  // `upkeep` is where renewals run; it outlives this.
  RoleKeys(EpollLoop& upkeep, Metrics& metrics);

  // Reads the secret and gives each role its password, on a session of its own. Nodes that do so at
  // once wait for each other, so that none sets what comes of a secret of before. What is wrong
  // with one role keeps no other from its password. Errors: not_found (a role is missing and may
  // not be made, with the statement that makes it), denied (it is a superuser, or we may not change
  // it), those of the session.
  Async<Result<void>> renew(PostgresOptions owner, std::vector<Managed> roles, Deadline deadline);

  // Any thread. Errors: not_found.
  Result<Secret> password(std::string_view role) const;

  // For a login that the server refused with `refused`, or that found no password (empty): the
  // role's password once it is another one, or once a renewal that began after this call is done.
  // Any loop. Errors: why it could not be renewed; timeout, cancelled.
  Async<Result<Secret>> password_after(std::string role, Secret refused, Deadline deadline);

  // On the upkeep's loop: waits for a password_after() that no renewal serves yet.
  Async<Wake> wanted(Deadline deadline);

 private:
  using Problems = std::map<std::string, Error, std::less<>>;
  using Passwords = std::map<std::string, Secret, std::less<>>;
  struct Waiter;

  Async<Result<Problems>> set(PostgresSession& session,
                              std::vector<Managed> roles,
                              Deadline deadline);
  // Who began to wait before this renewal did has what it waited for.
  void release(std::uint64_t renewal, const Result<Problems>& done);
  bool anyone_unserved() const;

  EpollLoop& upkeep_;
  Event wanted_;  // On the upkeep's loop.

  mutable std::mutex mutex_;
  Passwords passwords_;
  std::uint64_t renewals_begun_ = 0;
  std::vector<std::shared_ptr<Waiter>> waiters_;  // No more than logins under way.

  Counter& refused_;   // Under the lock.
  Counter& renewals_;  // Under the lock.
};

}  // namespace meridian
