#pragma once
// NATS as an engine: a nats-server with JetStream on a loopback port that the system chooses anew
// at each start, with a token that nobody but Meridian knows. (It cannot listen on a Unix socket.)

#include "base/secret.h"
#include "engines/data_folder.h"
#include "engines/engine.h"
#include "runtime/epoll_loop.h"
#include "runtime/socket.h"

#include <atomic>
#include <compare>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string_view>

namespace meridian {

struct NatsEngineOptions {
  std::filesystem::path program{};  // nats-server; empty: found.
  std::uint64_t payload_size_max = 1uz * 1024 * 1024;
  std::uint64_t file_store_size_max = 16uz * 1024 * 1024 * 1024;
  std::uint64_t memory_store_size_max = 256uz * 1024 * 1024;
  Duration predecessor_timeout = predecessor_timeout_default;
};

struct NatsVersion {
  int major = 0;
  int minor = 0;
  friend auto operator<=>(const NatsVersion&, const NatsVersion&) = default;
};

class NatsEngine final : public Engine {
 public:
  // Finds the program. `loop` and `folder` outlive it. Errors: not_found (no nats-server, or too
  // old: what to install), conflict (one that is not ours works in the folder), and those of the
  // disk.
  static Async<Result<std::unique_ptr<NatsEngine>>> open(EpollLoop& loop,
                                                         DataFolder& folder,
                                                         NatsEngineOptions options);

  // Where the process of now listens; port 0 before the first one serves. Any thread.
  Endpoint endpoint() const;
  const Secret& token() const noexcept { return token_; }

  std::string_view name() const noexcept override { return "nats"; }
  std::filesystem::path log_file() const override { return folder_.log() / "nats.log"; }
  Async<Result<ChildOptions>> prepare() override;
  Async<Result<void>> probe(Deadline deadline) override;
  StopSignals stop_signals() const noexcept override;

 private:
  NatsEngine(EpollLoop& loop, DataFolder& folder, NatsEngineOptions options)
      : loop_(loop), folder_(folder), options_(std::move(options)) {}

  Async<Result<void>> find_program();
  Result<void> check_free();
  Result<void> forget_ports();
  Result<std::uint16_t> read_port();

  EpollLoop& loop_;
  DataFolder& folder_;
  NatsEngineOptions options_;
  Secret token_;
  std::atomic<std::uint16_t> port_{0};
};

// "nats-server: v2.9.10" is 2.9.
std::optional<NatsVersion> parse_nats_version(std::string_view version_text) noexcept;

// The port in what nats-server writes to its ports file: {"nats":["nats://127.0.0.1:41234"]}.
std::optional<std::uint16_t> parse_nats_ports(std::string_view json);

}  // namespace meridian
