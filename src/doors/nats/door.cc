#include "doors/nats/door.h"

#include "doors/nats/visit.h"
#include "wire/nats/operation.h"

#include <utility>

namespace meridian {
namespace {

constexpr std::size_t read_buffer_size = 64 * 1024;

class NatsDoor final : public Door {
 public:
  explicit NatsDoor(NatsDoorParts parts) : shared_(std::move(parts)) {}

  DoorName name() const noexcept override { return DoorName::nats; }

  std::string_view refusal() const noexcept override { return shared_.refusal; }

  Async<> serve(Visit& visit) override {
    NatsVisit session(shared_, visit);
    if (co_await session.log_in()) co_await session.run();
    if (visit.end_reason().empty()) visit.note_end("ended");
    co_await session.finish();
  }

 private:
  NatsDoorShared shared_;
};

}  // namespace

NatsDoorShared::NatsDoorShared(NatsDoorParts given)
    : parts(std::move(given)),
      read_buffer(read_buffer_size),
      published(parts.metrics.counter("meridian_nats_published_total",
                                      "Messages that clients published and that were passed on.")),
      delivered(
          parts.metrics.counter("meridian_nats_delivered_total", "Messages passed on to clients.")),
      withheld(parts.metrics.counter(
          "meridian_nats_withheld_total",
          "Messages kept from a subscription that is wider than its role's permission.")),
      denied(parts.metrics.counter("meridian_nats_denied_total",
                                   "Messages and subscriptions that a role may not have.")),
      slow_consumers(parts.metrics.counter("meridian_nats_slow_consumers_total",
                                           "Clients cut because they did not read.")),
      rate_refused(parts.metrics.counter("meridian_nats_rate_refused_total",
                                         "Messages beyond a role's messages_per_second.")),
      idle_ended(parts.metrics.counter("meridian_nats_idle_ended_total",
                                       "Clients ended because they asked for nothing.")),
      held_back(parts.metrics.counter(
          "meridian_nats_held_back_total",
          "Times that a client was not read on because of what waited for it.")),
      subscriptions(parts.metrics.gauge("meridian_nats_subscriptions", "Subscriptions now.")) {
  if (parts.websocket) return;  // It would have to be opened first.
  // The server says INFO before it says this, and clients wait for that.
  nats::ServerInfo info;
  info.server_id = info.server_name = parts.node;
  info.host = parts.advertised.host;
  info.port = parts.advertised.port;
  info.headers = info.auth_required = true;
  nats::append_info(refusal, info);
  nats::append_error(refusal, "maximum connections exceeded");
}

std::unique_ptr<Door> make_nats_door(NatsDoorParts parts) {
  return std::make_unique<NatsDoor>(std::move(parts));
}

}  // namespace meridian
