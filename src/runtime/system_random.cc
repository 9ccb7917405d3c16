#include "runtime/system_random.h"

#include "base/assert.h"

#include <bit>
#include <cerrno>
#include <sys/random.h>

namespace meridian {

SystemRandom::SystemRandom() {
  fill_secret({reinterpret_cast<std::uint8_t*>(state_.data()), sizeof(state_)});
}

std::uint64_t SystemRandom::next() {
  const std::uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
  const std::uint64_t shifted = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= shifted;
  state_[3] = std::rotl(state_[3], 45);
  return result;
}

void SystemRandom::fill_secret(std::span<std::uint8_t> bytes) {
  while (!bytes.empty()) {
    const ssize_t size = ::getrandom(bytes.data(), bytes.size(), 0);
    if (size < 0 && errno == EINTR) continue;
    MERIDIAN_ASSERT(size > 0);  // Without chance no key is safe.
    bytes = bytes.subspan(static_cast<std::size_t>(size));
  }
}

}  // namespace meridian
