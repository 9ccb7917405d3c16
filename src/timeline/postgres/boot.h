#pragma once
// Which incarnation of the server a session talks to, and that it is the primary.

#include "runtime/deadline.h"
#include "timeline/boot_id.h"
#include "timeline/postgres/session.h"

#include <cstddef>
#include <string>
#include <string_view>

namespace meridian {

// The columns for boot_of(), to be selected beside what is to be of one boot with them. They read
// no file, so they may be asked with every question.
extern const std::string_view boot_columns;

// `system` is the server's system identifier, which a session's does not change; whether the
// columns from `first` on are of another server is seen by its start. Errors: unavailable, when the
// server is a standby: a snapshot there cannot be compared with the feed.
Result<BootId> boot_of(const Rows& rows, std::size_t first, std::string_view system);

// Gives one row for identity_of(). Any role may run it; also as a simple statement of a replication
// session.
extern const std::string boot_query;

struct ServerIdentity {
  std::string system;
  BootId boot = 0;
};

// Errors: as boot_of().
Result<ServerIdentity> identity_of(const Rows& rows);

}  // namespace meridian
