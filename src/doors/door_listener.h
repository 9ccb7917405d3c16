#pragma once
// Accepts a door's connections on one loop and hands each to the loop that has the fewest.
//
// The bounds on connections are kept here, before a connection costs anything: in all, and for each
// address.

#include "base/metrics.h"
#include "doors/door_host.h"
#include "runtime/epoll_loop.h"
#include "runtime/scope.h"
#include "runtime/socket.h"

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

namespace meridian {

struct ConnectionLimits {
  std::uint32_t visits_max = 10'000;  // Through one door.
  std::uint32_t visits_per_address_max =
      1'000;  // From one address; loopback and Unix sockets are exempt.
  std::uint32_t unauthenticated_per_address_max = 100;  // Of those, still logging in.
};

class DoorListener {
 public:
  // One loop that may serve the door.
  struct Target {
    EpollLoop* loop = nullptr;
    DoorHost* host = nullptr;
    Door* door = nullptr;
  };

  // `listener` belongs to `loop`. Targets serve the same door.
  DoorListener(EpollLoop& loop,
               std::unique_ptr<Listener> listener,
               std::vector<Target> targets,
               ConnectionLimits limits,
               Metrics& metrics);
  ~DoorListener();

  const Endpoint& endpoint() const noexcept { return listener_->endpoint(); }
  void start() { scope_.spawn(accept()); }

  // No more connections are taken; those that stand go on.
  Async<> close();

 private:
  // Counted while connections last; outlives the listener with the last of them.
  struct Counts {
    std::mutex mutex;
    std::uint32_t all = 0;
    struct Address {
      std::uint32_t all = 0;
      std::uint32_t unauthenticated = 0;
    };
    std::unordered_map<std::string, Address> by_address;

    void let_in(const std::string& address);
    void left(const std::string& address, bool waiting);
  };

  Async<> accept();
  bool logs_in() const noexcept;
  bool enter(const Peer& peer);
  void hand_over(Socket socket);

  EpollLoop& loop_;
  std::unique_ptr<Listener> listener_;
  std::vector<Target> targets_;
  ConnectionLimits limits_;
  std::shared_ptr<Counts> counts_;
  std::size_t turn_ = 0;
  Counter& refused_;
  Scope scope_;
};

}  // namespace meridian
