#include "timeline/postgres/boot.h"

#include "base/hash.h"

namespace meridian {

const std::string_view boot_query =
    "SELECT pg_catalog.pg_is_in_recovery(),"
    " (SELECT system_identifier FROM pg_catalog.pg_control_system()),"
    " (SELECT timeline_id FROM pg_catalog.pg_control_checkpoint()),"
    " pg_catalog.pg_postmaster_start_time()::pg_catalog.text";

Result<BootId> boot_of(const Rows& rows) {
  if (rows.count() != 1)
    return fail(Errc::unavailable, "PostgreSQL did not say which server it is");
  if (rows.flag(0, 0)) {
    return fail(Errc::unavailable, "the server is a standby; the timeline has to be the primary");
  }
  std::string text;
  for (std::size_t i = 1; i < 4; ++i)
    text += std::string(rows.text(0, i)) + '|';
  return hash_bytes(text) | 1;  // Never zero, which means unknown.
}

Async<Result<BootId>> ask_boot(PostgresSession& session, Deadline deadline) {
  MERIDIAN_CO_TRY(const Rows rows, co_await session.query(boot_query, {}, deadline));
  co_return boot_of(rows);
}

}  // namespace meridian
