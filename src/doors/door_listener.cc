#include "doors/door_listener.h"

#include "runtime/log.h"

#include <utility>

namespace meridian {

DoorListener::DoorListener(EpollLoop& loop,
                           std::unique_ptr<Listener> listener,
                           std::vector<Target> targets,
                           ConnectionLimits limits,
                           Metrics& metrics)
    : loop_(loop),
      listener_(std::move(listener)),
      targets_(std::move(targets)),
      limits_(limits),
      counts_(std::make_shared<Counts>()),
      refused_(metrics.counter(
          "meridian_connections_refused_total",
          "Connections closed at once because visits_max or visits_per_address_max was reached.",
          {{"door", std::string(to_string(targets_.front().door->name()))}})),
      scope_(loop) {}

DoorListener::~DoorListener() = default;

Async<> DoorListener::close() {
  listener_->close();
  co_await scope_.close();
}

bool DoorListener::enter(const Peer& peer) {
  const std::lock_guard lock(counts_->mutex);
  if (counts_->all >= limits_.visits_max) return false;
  if (!peer.local) {
    std::uint32_t& here = counts_->by_address[peer.address];
    if (here >= limits_.visits_per_address_max) return false;
    ++here;
  }
  ++counts_->all;
  return true;
}

Async<> DoorListener::accept() {
  for (;;) {
    auto socket = co_await listener_->accept();
    if (!socket) {
      if (socket.error().code() != Errc::exhausted) co_return;
      log_warning("doors", "no connection can be accepted", {{"reason", socket.error().detail()}});
      if (co_await loop_.sleep(std::chrono::milliseconds(100)) == Wake::cancelled) co_return;
      continue;
    }
    if (!enter(socket->peer)) {
      refused_.add();
      continue;
    }
    hand_over(std::move(*socket));
  }
}

void DoorListener::hand_over(Socket socket) {
  // The emptiest loop; among equals in turn.
  ++turn_;
  std::size_t best = turn_ % targets_.size();
  for (std::size_t i = 1; i < targets_.size(); ++i) {
    const std::size_t candidate = (turn_ + i) % targets_.size();
    if (targets_[candidate].host->visits_count() < targets_[best].host->visits_count())
      best = candidate;
  }
  const Target target = targets_[best];
  auto left = [counts = counts_, local = socket.peer.local, address = socket.peer.address] {
    const std::lock_guard lock(counts->mutex);
    --counts->all;
    if (local) return;
    const auto here = counts->by_address.find(address);
    if (--here->second == 0) counts->by_address.erase(here);
  };
  target.loop->submit([target, socket = std::move(socket), left = std::move(left)]() mutable {
    auto stream = std::make_unique<SocketStream>(*target.loop, std::move(socket));
    target.host->admit(*target.door, std::move(stream), std::move(left));
  });
}

}  // namespace meridian
