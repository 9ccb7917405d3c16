#pragma once
// What names, URLs and patterns in the configuration must be, one rule a function.
//
// Each is half a sentence about what is wrong, to go on after the setting's path. None looks at
// another setting: that is checks.h.

#include "app/config/problems.h"

#include <string_view>

namespace meridian::config {

// A PostgreSQL identifier that needs no quotes (PostgreSQL, section 4.1.1), and no name that
// PostgreSQL or Meridian keeps for itself.
Parsed<void> check_role_name(std::string_view name);

// A name of the user's own: letters, digits, _ and -; at most 63 bytes.
Parsed<void> check_own_name(std::string_view name);
// A host's name, whole or not; it is part of file names.
Parsed<void> check_node_name(std::string_view name);

Parsed<void> check_issuer_name(std::string_view name);

// postgres://user@host:port/database, no password, no option but sslmode.
Parsed<void> check_timeline_url(std::string_view text);

// redis://host:port or rediss://..., no password, database 0.
Parsed<void> check_redis_url(std::string_view text);

// nats://host:port or tls://..., no password, nothing after the host.
Parsed<void> check_nats_url(std::string_view text);

// What NATS understands as a subject with wildcards; JetStream's own are refused.
Parsed<void> check_nats_subject(std::string_view pattern);

// What rows are published as: tokens with dots between them, {column} in them, and where there is
// no table wildcards. It begins with literal text, which keeps it off what NATS has for itself.
Parsed<void> check_publish_subject(std::string_view subject);

// A table's name, or schema.table; letters, digits and _.
Parsed<void> check_table_name(std::string_view name);

// A stream's name, whole.
Parsed<void> check_stream_name(std::string_view name);

// A stream's name, or the beginning of one and `*`.
Parsed<void> check_nats_stream(std::string_view pattern);

// https:// (or http://), a host and a path at most (OpenID Connect Discovery 1.0, section 3).
Parsed<void> check_issuer_url(std::string_view text);

// Exact text, or with * for one whole segment between / and :.
Parsed<void> check_subject(std::string_view text);

// "any", or dns:, uri:, email: or cn: and a pattern as of check_subject().
Parsed<void> check_certificate(std::string_view text);

// A database's name, or * alone.
Parsed<void> check_database(std::string_view name);

// A Redis key pattern without spaces.
Parsed<void> check_redis_keys(std::string_view pattern);

// A Redis command, or command|subcommand.
Parsed<void> check_redis_command(std::string_view name);

// A setting of postgresql.conf that Meridian does not set itself.
Parsed<void> check_postgres_setting(std::string_view name);

}  // namespace meridian::config
