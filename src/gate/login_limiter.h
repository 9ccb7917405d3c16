#pragma once
// Bounds failed logins by where they come from, so that nobody can go on guessing or keep us busy
// verifying.
//
// An address is an IPv4 address, the /64 of an IPv6 address (one host has a whole one), or the user
// behind a Unix socket. Only failures count: a pool of many good connections is not held up. Any
// thread; a lock of a few instructions is taken once or twice a login, never on a request's path.

#include "base/result.h"
#include "base/time.h"
#include "gate/config.h"

#include <array>
#include <cstddef>
#include <list>
#include <mutex>
#include <string>
#include <unordered_map>

namespace meridian {

struct Peer;

// The key under which a peer's failures are counted: "10.0.0.7", "2001:db8:0:1::/64", "uid 1000".
std::string login_source_of(const Peer& peer);

// Whether a login that failed so counts: what somebody who guesses would cause. That a provider or
// the trail is down is not the peer's fault.
inline bool counts_as_failed_login(Errc code) noexcept {
  return code == Errc::unauthenticated || code == Errc::denied || code == Errc::invalid;
}

class LoginLimiter {
 public:
  explicit LoginLimiter(LoginLimits limits) : limits_(limits) {}

  // Errors: exhausted, saying when to try again, after too many failures of this source.
  Result<void> check(const std::string& source, Time now);

  // A login of this source failed.
  void failed(const std::string& source, Time now);

  std::size_t sources_count();

 private:
  static constexpr std::size_t shards_count = 16;

  // A bucket of failures to spend, refilled with time.
  struct Source {
    std::string name;
    double allowance;
    Time at;  // When `allowance` was right.
  };
  struct Shard {
    std::mutex mutex;
    std::list<Source> by_age;  // The latest failure first.
    std::unordered_map<std::string, std::list<Source>::iterator> by_name;
  };

  Shard& shard_of(const std::string& source);
  double allowance_of(const Source& source, Time now) const noexcept;

  LoginLimits limits_;
  std::array<Shard, shards_count> shards_;
};

}  // namespace meridian
