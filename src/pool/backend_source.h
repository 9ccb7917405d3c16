#pragma once
// Where a pool's backends come from.
//
// Implementations: Connector, and a double of tests.

#include "base/result.h"
#include "pool/backend.h"
#include "runtime/epoll_loop.h"

#include <memory>
#include <string>

namespace meridian {

// What every session of a role begins with, and returns to when it is reset.
struct SessionDefaults {
  Duration statement_timeout{};  // Zero: none of ours.
  bool read_only = false;

  friend bool operator==(const SessionDefaults&, const SessionDefaults&) = default;
};

class BackendSource {
 public:
  virtual ~BackendSource() = default;

  // Any loop. Errors: unavailable (the server cannot be reached, or is not what it claims to be),
  // denied (it refused the login), exhausted (it has too many connections), timeout, cancelled.
  // `not_found`: no such database.
  virtual Async<Result<std::unique_ptr<Backend>>> open(EpollLoop& loop,
                                                       std::string role,
                                                       std::string database,
                                                       SessionDefaults defaults,
                                                       Deadline deadline) = 0;
};

}  // namespace meridian
