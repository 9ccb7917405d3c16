#pragma once
// Where PostgreSQL's programs are on this machine.

#include "base/result.h"
#include "engines/owned_file.h"
#include "runtime/async.h"
#include "runtime/epoll_loop.h"

#include <filesystem>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace meridian {

inline constexpr int postgres_major_min = 15;

struct PostgresPrograms {
  std::filesystem::path folder;  // Has initdb and postgres.
  int major = 0;                 // 15

  friend bool operator==(const PostgresPrograms&, const PostgresPrograms&) = default;
};

// Looks in `configured` alone if it is given, else in Debian's folders and where pg_config points.
// `cluster_major`: of the cluster that is to be run; only that version can. `run_as`: whom the
// programs run as. Errors: not_found, with what was found instead and what to install.
Async<Result<PostgresPrograms>> find_postgres(EpollLoop& loop,
                                              std::filesystem::path configured,
                                              std::optional<int> cluster_major,
                                              std::optional<Account> run_as);

// "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)" is 15.
std::optional<int> parse_postgres_major(std::string_view version_text) noexcept;

// The version that can run the cluster, or without one the newest that is new enough. Errors:
// not_found.
Result<PostgresPrograms> choose_postgres(std::span<const PostgresPrograms> found,
                                         std::optional<int> cluster_major);

}  // namespace meridian
