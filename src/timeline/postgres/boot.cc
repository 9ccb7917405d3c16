#include "timeline/postgres/boot.h"

#include "base/hash.h"

namespace meridian {

// The timeline of what is written now: the control file's is that of the last checkpoint, which
// comes some time after a promotion. A number for the time: its text would depend on the session's
// time zone, which is not the same in replication sessions.
const std::string_view boot_columns =
    "pg_catalog.pg_is_in_recovery(),"
    " CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL ELSE pg_catalog.\"left\"("
    "pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 8) END,"
    " pg_catalog.date_part('epoch', pg_catalog.pg_postmaster_start_time())";

const std::string boot_query =
    "SELECT (SELECT system_identifier FROM pg_catalog.pg_control_system()), " +
    std::string(boot_columns);

Result<BootId> boot_of(const Rows& rows, std::size_t first, std::string_view system) {
  if (rows.count() != 1 || system.empty())
    return fail(Errc::unavailable, "PostgreSQL did not say which server it is");
  if (rows.flag(0, first)) {
    return fail(Errc::unavailable, "the server is a standby; the timeline has to be the primary");
  }
  std::string text(system);
  for (std::size_t i = first + 1; i < first + 3; ++i)
    text += '|' + std::string(rows.text(0, i));
  return hash_bytes(text) | 1;  // Never zero, which means unknown.
}

Result<ServerIdentity> identity_of(const Rows& rows) {
  ServerIdentity identity;
  if (rows.count() == 1) identity.system = rows.text(0, 0);
  MERIDIAN_TRY(identity.boot, boot_of(rows, 1, identity.system));
  return identity;
}

}  // namespace meridian
