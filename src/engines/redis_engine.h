#pragma once
// Redis as an engine: a server on a Unix socket of the data folder, with a password that nobody but
// Meridian knows.

#include "base/secret.h"
#include "engines/data_folder.h"
#include "engines/engine.h"
#include "engines/redis_config.h"
#include "runtime/epoll_loop.h"
#include "runtime/socket.h"

#include <compare>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string_view>

namespace meridian {

struct RedisEngineOptions {
  std::filesystem::path program{};  // redis-server; empty: found.
  std::uint64_t memory_size_max = 256uz * 1024 * 1024;

  // Views are in Meridian's own cache; what is in Redis are the sessions, locks and counters of
  // applications, which they wrote in order to find them again. So a full Redis says so rather than
  // forget.
  RedisEviction eviction = RedisEviction::refuse;
  bool durable = true;  // Survives a restart, but for the last second.
  Duration predecessor_timeout = predecessor_timeout_default;
};

struct RedisVersion {
  int major = 0;
  int minor = 0;
  friend auto operator<=>(const RedisVersion&, const RedisVersion&) = default;
};

class RedisEngine final : public Engine {
 public:
  // Finds the program. `loop` and `folder` outlive it. Errors: not_found (no Redis, or too old:
  // what to install), conflict (a Redis that is not ours works in the folder), and those of the
  // disk.
  static Async<Result<std::unique_ptr<RedisEngine>>> open(EpollLoop& loop,
                                                          DataFolder& folder,
                                                          RedisEngineOptions options);

  Endpoint endpoint() const;
  const Secret& password() const noexcept { return password_; }  // Of the user "default".
  RedisVersion version() const noexcept { return version_; }

  std::string_view name() const noexcept override { return "redis"; }
  std::filesystem::path log_file() const override { return folder_.log() / "redis.log"; }
  Async<Result<ChildOptions>> prepare() override;
  Async<Result<void>> probe(Deadline deadline) override;
  StopSignals stop_signals() const noexcept override;

 private:
  RedisEngine(EpollLoop& loop, DataFolder& folder, RedisEngineOptions options)
      : loop_(loop), folder_(folder), options_(std::move(options)) {}

  Async<Result<void>> find_program();
  Result<void> check_free();

  EpollLoop& loop_;
  DataFolder& folder_;
  RedisEngineOptions options_;
  RedisVersion version_;
  Secret password_;
};

// "Redis server v=7.0.15 sha=00000000:0 malloc=..." is 7.0.
std::optional<RedisVersion> parse_redis_version(std::string_view version_text) noexcept;

}  // namespace meridian
