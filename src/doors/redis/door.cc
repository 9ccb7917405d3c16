#include "doors/redis/door.h"

#include "doors/encryption.h"
#include "doors/redis/visit.h"

#include <utility>

namespace meridian {
namespace {

constexpr std::size_t read_buffer_size = 64 * 1024;

class RedisDoor final : public Door {
 public:
  explicit RedisDoor(RedisDoorParts parts) : shared_(parts) {}

  DoorName name() const noexcept override { return DoorName::redis; }

  Async<> serve(Visit& visit) override {
    auto received = co_await encrypt_at_once(
        visit, shared_.parts.tls, shared_.parts.loop.after(shared_.parts.limits.login_timeout));
    if (!received) co_return visit.note_end(received.error().detail());
    RedisVisit session(shared_, visit);
    co_await session.run(std::move(*received));
    if (visit.end_reason().empty()) visit.note_end("ended");
    co_await session.finish();
  }

 private:
  RedisDoorShared shared_;
};

}  // namespace

RedisDoorShared::RedisDoorShared(RedisDoorParts given)
    : parts(given),
      read_buffer(read_buffer_size),
      view_set(given.view_set),
      commands(given.commands),
      commands_total(
          given.metrics.counter("meridian_redis_commands_total", "Commands of the redis door.")),
      view_reads(given.metrics.counter("meridian_redis_view_reads_total", "Reads of views.")),
      relayed(
          given.metrics.counter("meridian_redis_relayed_total", "Commands passed on to Redis.")),
      denied(given.metrics.counter("meridian_redis_denied_total",
                                   "Commands that a role may not run.")),
      miss_seconds(
          given.metrics.histogram("meridian_redis_view_miss_seconds",
                                  "From a read of a view that was not kept to its answer.")),
      relay_seconds(
          given.metrics.histogram("meridian_redis_relay_seconds",
                                  "From passing a run of commands on to their last reply.")) {}

std::unique_ptr<Door> make_redis_door(RedisDoorParts parts) {
  return std::make_unique<RedisDoor>(parts);
}

}  // namespace meridian
