#pragma once
// Which installation of Meridian this is, among several that share a NATS: that of one database of
// one cluster. Names that are kept in NATS carry it, so that two never take one for their own.
//
// A standby that was promoted is the same installation. A database that was dumped and restored, or
// upgraded into another cluster, is another one.

#include <string_view>

namespace meridian {

// Twelve digits in hex, as a subquery.
inline constexpr std::string_view installation_sql =
    "(SELECT left(encode(sha256(convert_to(c.system_identifier || '/' || d.oid, 'UTF8')), 'hex'),"
    " 12) FROM pg_catalog.pg_control_system() c, pg_catalog.pg_database d"
    " WHERE d.datname = current_database())";

}  // namespace meridian
