#pragma once
// PostgreSQL as an engine: a cluster in the data folder, reached by a Unix socket and passwords
// that nobody but Meridian knows.

#include "base/secret.h"
#include "engines/data_folder.h"
#include "engines/engine.h"
#include "engines/postgres_config.h"
#include "engines/postgres_programs.h"
#include "runtime/epoll_loop.h"
#include "runtime/socket.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>

namespace meridian {

struct PostgresEngineOptions {
  std::filesystem::path programs{};         // The folder of initdb and postgres; empty: found.
  std::optional<std::uint16_t> tcp_port{};  // Also on 127.0.0.1, for tools; none by default.
  std::uint32_t connections_max = 200;
  std::optional<std::uint64_t> shared_buffers_size{};  // By default from the machine's memory.
  std::uint64_t slot_wal_kept_size_max = 1024uz * 1024 * 1024;
  std::map<std::string, std::string> settings{};  // Of postgresql.conf; those of Meridian win.
  Duration predecessor_timeout = predecessor_timeout_default;
};

class PostgresEngine final : public Engine {
 public:
  static constexpr std::string_view superuser = "meridian";
  static constexpr std::string_view first_database = "postgres";

  // Finds the programs, and makes the cluster on first use (a second or two). `loop` and `folder`
  // outlive it. Errors: not_found (no PostgreSQL: what to install), conflict (a PostgreSQL that is
  // not ours runs on the folder), invalid (cluster without its secret), and those of the disk.
  static Async<Result<std::unique_ptr<PostgresEngine>>> open(EpollLoop& loop,
                                                             DataFolder& folder,
                                                             PostgresEngineOptions options);

  // For libpq: host, port, password. The endpoint is the socket itself.
  const std::filesystem::path& socket_folder() const noexcept { return folder_.run(); }
  std::uint16_t port() const noexcept;
  Endpoint endpoint() const;
  const Secret& password() const noexcept { return password_; }
  int major() const noexcept { return programs_.major; }

  std::string_view name() const noexcept override { return "postgres"; }
  std::filesystem::path log_file() const override { return folder_.log() / "postgres.log"; }
  Async<Result<ChildOptions>> prepare() override;
  Async<Result<void>> probe(Deadline deadline) override;
  StopSignals stop_signals() const noexcept override;

 private:
  PostgresEngine(EpollLoop& loop, DataFolder& folder, PostgresEngineOptions options)
      : loop_(loop), folder_(folder), options_(std::move(options)) {}

  Async<Result<void>> find_cluster();
  Async<Result<void>> make_cluster();
  Async<Result<void>> run_initdb();
  Result<void> check_free();
  Async<Result<void>> end_leftovers();
  Result<void> clear_stale_files();
  Result<void> write_configuration();

  EpollLoop& loop_;
  DataFolder& folder_;
  PostgresEngineOptions options_;
  PostgresPrograms programs_;
  Secret password_;
};

}  // namespace meridian
