#include "doors/door_listener.h"

#include "gate/login_limiter.h"
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
      refused_(
          metrics.counter("meridian_connections_refused_total",
                          "Connections closed at once because a limit of connections was reached.",
                          {{"door", std::string(to_string(targets_.front().door->name()))}})),
      scope_(loop) {}

DoorListener::~DoorListener() = default;

Async<> DoorListener::close() {
  listener_->close();
  co_await scope_.close();
}

void DoorListener::Counts::let_in(const std::string& address) {
  const std::lock_guard lock(mutex);
  --by_address.at(address).unauthenticated;
}

void DoorListener::Counts::left(const std::string& address, bool waiting) {
  const std::lock_guard lock(mutex);
  --all;
  if (address.empty()) return;
  const auto here = by_address.find(address);
  if (waiting) --here->second.unauthenticated;
  if (--here->second.all == 0) by_address.erase(here);
}

// The others ask for no login: each of their requests stands for itself.
bool DoorListener::logs_in() const noexcept {
  return targets_.front().door->name() != DoorName::http;
}

bool DoorListener::enter(const Peer& peer) {
  const std::lock_guard lock(counts_->mutex);
  if (counts_->all >= limits_.visits_max) return false;
  if (!peer.local) {
    Counts::Address& here = counts_->by_address[login_source_of(peer)];
    if (here.all >= limits_.visits_per_address_max ||
        here.unauthenticated >= limits_.unauthenticated_per_address_max) {
      return false;
    }
    ++here.all;
    if (logs_in()) ++here.unauthenticated;
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
      // As much as the socket takes at once: who is refused is not waited for.
      socket->say(targets_.front().door->refusal());
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
  // A connection from this machine is not counted by its address.
  auto waiting = std::make_shared<bool>(!socket.peer.local && logs_in());
  const std::string address = socket.peer.local ? std::string() : login_source_of(socket.peer);
  DoorHost::Told told{
      .let_in =
          [counts = counts_, waiting, address] {
            if (std::exchange(*waiting, false)) counts->let_in(address);
          },
      .left = [counts = counts_, waiting, address] { counts->left(address, *waiting); }};
  target.loop->submit([target, socket = std::move(socket), told = std::move(told)]() mutable {
    auto stream = std::make_unique<SocketStream>(*target.loop, std::move(socket));
    target.host->admit(*target.door, std::move(stream), std::move(told));
  });
}

}  // namespace meridian
