#include "gate/login_limiter.h"

#include "base/hash.h"
#include "runtime/stream.h"

#include <algorithm>
#include <arpa/inet.h>
#include <fmt/format.h>

namespace meridian {

std::string login_source_of(const Peer& peer) {
  if (peer.unix_socket) return fmt::format("uid {}", peer.user);
  std::string address = peer.address.substr(0, peer.address.find('%'));  // Without the zone.
  in6_addr bytes{};
  if (::inet_pton(AF_INET6, address.c_str(), &bytes) != 1) return address;
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (IN6_IS_ADDR_V4MAPPED(&bytes)) {
    return ::inet_ntop(AF_INET, &bytes.s6_addr[12], text.data(), text.size());
  }
  std::fill(std::begin(bytes.s6_addr) + 8, std::end(bytes.s6_addr), std::uint8_t{0});
  return fmt::format("{}/64", ::inet_ntop(AF_INET6, &bytes, text.data(), text.size()));
}

LoginLimiter::Shard& LoginLimiter::shard_of(const std::string& source) {
  return shards_[hash_bytes(source) % shards_count];
}

double LoginLimiter::allowance_of(const Source& source, Time now) const noexcept {
  const double minutes = std::chrono::duration<double, std::ratio<60>>(now - source.at).count();
  return std::min(limits_.failures_burst,
                  source.allowance + std::max(minutes, 0.0) * limits_.failures_per_minute);
}

Result<void> LoginLimiter::check(const std::string& source, Time now) {
  Shard& shard = shard_of(source);
  const std::lock_guard lock(shard.mutex);
  const auto found = shard.by_name.find(source);
  if (found == shard.by_name.end()) return {};
  const double allowance = allowance_of(*found->second, now);
  if (allowance >= 1) return {};
  const double seconds = (1 - allowance) / limits_.failures_per_minute * 60;
  return fail(
      Errc::exhausted,
      fmt::format(
          "too many failed logins from {}; try again in {:.0f} s", source, std::max(seconds, 1.0)));
}

void LoginLimiter::failed(const std::string& source, Time now) {
  Shard& shard = shard_of(source);
  const std::lock_guard lock(shard.mutex);
  const auto found = shard.by_name.find(source);
  if (found == shard.by_name.end()) {
    const std::size_t room = std::max<std::size_t>(limits_.addresses_max / shards_count, 1);
    while (shard.by_age.size() >= room) {
      shard.by_name.erase(shard.by_age.back().name);
      shard.by_age.pop_back();
    }
    shard.by_age.push_front({.name = source, .allowance = limits_.failures_burst - 1, .at = now});
    shard.by_name[source] = shard.by_age.begin();
    return;
  }
  Source& known = *found->second;
  known.allowance = std::max(allowance_of(known, now) - 1, 0.0);
  known.at = now;
  shard.by_age.splice(shard.by_age.begin(), shard.by_age, found->second);
}

std::size_t LoginLimiter::sources_count() {
  std::size_t count = 0;
  for (Shard& shard : shards_) {
    const std::lock_guard lock(shard.mutex);
    count += shard.by_age.size();
  }
  return count;
}

}  // namespace meridian
