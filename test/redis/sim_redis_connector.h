#pragma once
// Connects to a SimRedis over a simulated wire.

#include "pool/redis/connector.h"
#include "redis/sim_redis.h"
#include "runtime/sim/sim_stream.h"

#include <memory>
#include <utility>

namespace meridian {

class SimRedisConnector final : public redis::RedisConnector {
 public:
  SimRedisConnector(SimLoop& loop,
                    SimRedis& redis,
                    redis::RedisLogin login = {},
                    SimWireOptions wire = {})
      : loop_(loop), redis_(redis), login_(std::move(login)), wire_(wire) {}

  // Nobody listens.
  void set_down(bool down) noexcept { down_ = down; }

  Async<Result<std::unique_ptr<Stream>>> connect(Deadline /*deadline*/) override {
    if (down_) co_return fail(Errc::unavailable, "connection refused");
    auto [ours, theirs] = SimStream::make_pair(loop_, wire_);
    redis_.accept(std::move(theirs));
    co_return std::unique_ptr<Stream>(std::move(ours));
  }

  Async<Result<redis::RedisLogin>> login(Deadline /*deadline*/) override { co_return login_; }

 private:
  SimLoop& loop_;
  SimRedis& redis_;
  redis::RedisLogin login_;
  SimWireOptions wire_;
  bool down_ = false;
};

}  // namespace meridian
