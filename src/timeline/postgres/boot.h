#pragma once
// Which incarnation of the server a session talks to, and that it is the primary.

#include "runtime/deadline.h"
#include "timeline/postgres/session.h"
#include "timeline/reader.h"

#include <string_view>

namespace meridian {

// Gives one row for boot_of(). Any role may run it; also as a simple statement of a replication
// session.
extern const std::string_view boot_query;

// Errors: unavailable, when the server is a standby: a snapshot there cannot be compared with the
// feed.
Result<BootId> boot_of(const Rows& rows);

Async<Result<BootId>> ask_boot(PostgresSession& session, Deadline deadline);

}  // namespace meridian
