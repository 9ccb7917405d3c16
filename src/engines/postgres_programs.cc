#include "engines/postgres_programs.h"

#include "base/escape.h"
#include "base/number.h"
#include "runtime/child.h"

#include <algorithm>
#include <string>
#include <unistd.h>

namespace meridian {
namespace {

constexpr Duration question_timeout = std::chrono::seconds(10);

bool has_programs(const std::filesystem::path& folder) {
  return ::access((folder / "postgres").c_str(), X_OK) == 0 &&
         ::access((folder / "initdb").c_str(), X_OK) == 0;
}

// What a program prints when asked with one argument; empty when it cannot be asked.
Async<std::string> ask(EpollLoop& loop,
                       std::filesystem::path program,
                       std::string argument,
                       std::optional<Account> run_as) {
  auto answer = co_await run_program(loop,
                                     {.command = {program.native(), argument}, .user = run_as},
                                     loop.after(question_timeout));
  if (!answer) co_return std::string();
  while (answer->ends_with('\n'))
    answer->pop_back();
  co_return std::move(*answer);
}

Async<std::vector<std::filesystem::path>> candidates(EpollLoop& loop,
                                                     std::filesystem::path configured,
                                                     std::optional<Account> run_as) {
  std::vector<std::filesystem::path> folders;
  if (!configured.empty()) {
    folders.push_back(std::move(configured));
    co_return folders;
  }
  std::error_code error;  // A folder that is not there has no entries.
  for (std::filesystem::directory_iterator it("/usr/lib/postgresql", error), end;
       !error && it != end;
       it.increment(error)) {
    folders.push_back(it->path() / "bin");
  }
  for (const auto* const place : {"/usr/local/bin/pg_config", "/usr/bin/pg_config"}) {
    if (::access(place, X_OK) != 0) continue;
    std::filesystem::path told = co_await ask(loop, place, "--bindir", run_as);
    if (std::ranges::find(folders, told) == folders.end()) folders.push_back(std::move(told));
  }
  co_return folders;
}

}  // namespace

std::optional<int> parse_postgres_major(std::string_view version_text) noexcept {
  constexpr std::string_view before = "(PostgreSQL) ";
  const std::size_t at = version_text.find(before);
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view version = version_text.substr(at + before.size());
  // "15.18", "16beta1", "17devel".
  return parse_number<int>(version.substr(0, version.find_first_not_of("0123456789")));
}

Result<PostgresPrograms> choose_postgres(std::span<const PostgresPrograms> found,
                                         std::optional<int> cluster_major) {
  const PostgresPrograms* best = nullptr;
  std::string seen;
  for (const PostgresPrograms& programs : found) {
    if (!seen.empty()) seen += ", ";
    seen += std::to_string(programs.major) + " in " + quote(programs.folder.native());
    const bool fits =
        cluster_major ? programs.major == *cluster_major : programs.major >= postgres_major_min;
    if (fits && (!best || programs.major > best->major)) best = &programs;
  }
  if (best) return *best;
  const std::string wanted = cluster_major
                                 ? "PostgreSQL " + std::to_string(*cluster_major) +
                                       ", which made the cluster in the data folder,"
                                 : "PostgreSQL " + std::to_string(postgres_major_min) + " or newer";
  const std::string package =
      "postgresql-" + std::to_string(cluster_major.value_or(postgres_major_min));
  return fail(Errc::not_found,
              wanted + " was not found (" + (seen.empty() ? "nor any other" : "found: " + seen) +
                  "): apt install " + package +
                  ", or name the folder of initdb and postgres in the configuration");
}

Async<Result<PostgresPrograms>> find_postgres(EpollLoop& loop,
                                              std::filesystem::path configured,
                                              std::optional<int> cluster_major,
                                              std::optional<Account> run_as) {
  std::vector<PostgresPrograms> found;
  for (const auto& folder : co_await candidates(loop, std::move(configured), run_as)) {
    if (!has_programs(folder)) continue;
    const std::string version = co_await ask(loop, folder / "postgres", "--version", run_as);
    if (const auto major = parse_postgres_major(version)) {
      found.push_back({.folder = folder, .major = *major});
    }
  }
  co_return choose_postgres(found, cluster_major);
}

}  // namespace meridian
