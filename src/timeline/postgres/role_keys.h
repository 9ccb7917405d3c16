#pragma once
// The passwords of the database's login roles: made here from a secret that only the owner of the
// schema meridian can read, the same on all nodes, and known to nobody else.
//
// Only their SCRAM verifiers are sent to the database. A session that stands is not touched by a
// renewal.

#include "base/random.h"
#include "base/result.h"
#include "base/secret.h"
#include "runtime/deadline.h"
#include "timeline/postgres/session.h"

#include <map>
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

  // Gives each role its password. Errors: not_found (a role is missing and may not be made, with
  // the statement that makes it), denied (it is a superuser, or we may not change it).
  Async<Result<void>> renew(PostgresSession& session,
                            std::vector<Managed> roles,
                            Random& random,
                            Deadline deadline);

  // Any thread. Errors: not_found.
  Result<Secret> password(std::string_view role) const;

 private:
  mutable std::mutex mutex_;
  std::map<std::string, Secret, std::less<>> passwords_;
};

}  // namespace meridian
