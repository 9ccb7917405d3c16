#pragma once
// The schema `meridian` in the timeline's database: versioned, applied under a lock, never edited
// once released.

#include "runtime/deadline.h"
#include "timeline/postgres/session.h"

#include <span>
#include <string_view>

namespace meridian {

struct Migration {
  int version = 0;
  std::string_view name;
  std::span<const std::string_view> statements;
};

std::span<const Migration> migrations() noexcept;

// Brings the schema to the newest version, each migration in a transaction of its own; several
// nodes may try at once. Returns the version. Errors: denied, with the grant that is missing;
// conflict, when the schema is newer than this program.
Async<Result<int>> migrate(PostgresSession& session, Deadline deadline);

// Installs the event triggers that tell the feed of changes of the schema. They need a superuser.
// Errors: denied.
Async<Result<void>> install_schema_watch(PostgresSession& session, Deadline deadline);

}  // namespace meridian
