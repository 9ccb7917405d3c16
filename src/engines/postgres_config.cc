#include "engines/postgres_config.h"

#include <algorithm>
#include <fmt/format.h>

namespace meridian {
namespace {

constexpr std::uint64_t mebibyte = 1024uz * 1024;

// An entry of a list of folders: between double quotes, so that it may hold commas and blanks.
std::string quote_entry(std::string_view entry) {
  std::string quoted = "\"";
  for (const char c : entry) {
    if (c == '"') quoted += '"';
    quoted += c;
  }
  return quoted + "\"";
}

}  // namespace

std::string quote_setting(std::string_view value) {
  std::string quoted = "'";
  for (const char c : value) {
    if (c == '\'' || c == '\\') quoted += c;
    quoted += c;
  }
  return quoted + "'";
}

std::uint64_t shared_buffers_size_for(std::uint64_t memory_size) noexcept {
  return std::clamp<std::uint64_t>(memory_size / 8, 64 * mebibyte, 1024 * mebibyte);
}

std::string to_postgresql_conf(const PostgresClusterConfig& config) {
  std::string text =
      "# Written by Meridian at each start. Your own settings go into postgresql.conf or "
      "engines.postgres.settings;\n# what follows them wins.\n";
  for (const auto& [name, value] : config.settings)
    text += name + " = " + quote_setting(value) + "\n";
  return text +
         fmt::format(
             R"(

# Who can reach it.
listen_addresses = '{listen}'
port = {port}
unix_socket_directories = {sockets}
unix_socket_permissions = 0700
password_encryption = 'scram-sha-256'
ssl = off
max_connections = {connections}

# An acknowledged commit survives a crash.
fsync = on
full_page_writes = on
synchronous_commit = on

# A statement whose client has left ends, also where the cancel request for it came too early.
client_connection_check_interval = '1s'

# After the crash of a session everything ends and Meridian starts it again: one way to recover.
restart_after_crash = off

# The feed. A slot that holds back more WAL than this is given up.
wal_level = 'logical'
max_replication_slots = {slots}
max_wal_senders = {slots}
max_slot_wal_keep_size = {kept}MB

shared_buffers = {buffers}MB

# Its log is for operators: no statements of clients, and no rows in the details of their errors.
log_destination = 'stderr'
logging_collector = off
log_min_messages = 'error'
log_min_error_statement = 'panic'
log_error_verbosity = 'terse'
log_timezone = 'UTC'
cluster_name = 'meridian'
)",
             fmt::arg("listen", config.tcp ? "127.0.0.1" : ""),
             fmt::arg("port", config.port),
             fmt::arg("sockets", quote_setting(quote_entry(config.socket_folder.native()))),
             fmt::arg("connections", config.connections_max),
             fmt::arg("slots", config.replication_slots_max),
             fmt::arg("kept", std::max<std::uint64_t>(config.slot_wal_kept_size_max / mebibyte, 1)),
             fmt::arg("buffers",
                      std::max<std::uint64_t>(config.shared_buffers_size / mebibyte, 1)));
}

std::string to_pg_hba_conf(const PostgresClusterConfig& config) {
  std::string text =
      "# Written by Meridian at each start.\n"
      "# TYPE  DATABASE  USER  ADDRESS       METHOD\n"
      "local   all       all                 scram-sha-256\n";
  if (config.tcp) text += "host    all       all   127.0.0.1/32  scram-sha-256\n";
  return text;
}

std::string with_include(std::string_view text) {
  const std::string line = fmt::format("include '{}'", postgres_config_name);
  // What stands after the line wins over it, so it counts only as the last line.
  std::string_view body = text;
  while (body.ends_with('\n'))
    body.remove_suffix(1);
  if (body == line || body.ends_with("\n" + line)) return std::string(text);
  std::string with(text);
  if (!with.empty() && !with.ends_with('\n')) with += '\n';
  return with + "\n# Meridian's settings, which must stay last.\n" + line + "\n";
}

}  // namespace meridian
