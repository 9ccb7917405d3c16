#pragma once
// The configuration that Meridian gives to its PostgreSQL, as text. Written anew at each start.

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>

namespace meridian {

struct PostgresClusterConfig {
  std::filesystem::path socket_folder;
  std::uint16_t port = 5432;  // Part of the socket's name, also when no TCP port is open.
  bool tcp = false;           // Whether to listen on 127.0.0.1 too.
  std::uint32_t connections_max = 200;
  std::uint64_t shared_buffers_size = 128uz * 1024 * 1024;
  std::uint32_t replication_slots_max = 16;
  std::uint64_t slot_wal_kept_size_max = 1024uz * 1024 * 1024;  // Then a slot is given up.
  std::map<std::string, std::string> settings{};                // Others; ours win.
};

// The name of the file that postgresql.conf includes last.
inline constexpr std::string_view postgres_config_name = "meridian.conf";

// meridian.conf.
std::string to_postgresql_conf(const PostgresClusterConfig& config);

// pg_hba.conf: who comes in, and how. Every way asks for a password (SCRAM).
std::string to_pg_hba_conf(const PostgresClusterConfig& config);

// `text`, the text of a postgresql.conf, with the line that includes ours as the last that counts.
// The same text when it is there.
std::string with_include(std::string_view text);

// A value between single quotes (PostgreSQL 15, section 20.1.2).
std::string quote_setting(std::string_view value);

// An eighth of the memory, at least 64 MiB and at most 1 GiB: Meridian shares the machine with what
// it serves, and PostgreSQL uses the system's cache for the rest.
std::uint64_t shared_buffers_size_for(std::uint64_t memory_size) noexcept;

}  // namespace meridian
