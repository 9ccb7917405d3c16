#include "doors/postgres/cancel_keys.h"

#include <array>
#include <vector>

namespace meridian {

std::shared_ptr<CancelKeys::Seat> CancelKeys::issue(Loop& loop,
                                                    std::size_t key_size,
                                                    std::function<void(Done)> cancel) {
  auto seat = std::make_shared<Seat>();
  seat->loop = &loop;
  seat->cancel = std::move(cancel);
  std::vector<std::uint8_t> bytes(key_size);
  loop.random().fill_secret(bytes);
  seat->key = Secret(std::string(bytes.begin(), bytes.end()));
  const std::lock_guard lock(mutex_);
  do {
    std::array<std::uint8_t, 4> number;
    loop.random().fill_secret(number);
    // Positive, as process ids are: clients print it.
    seat->process_id = (std::uint32_t{number[0]} << 24 | std::uint32_t{number[1]} << 16 |
                        std::uint32_t{number[2]} << 8 | number[3]) &
                       0x7fffffff;
  } while (seat->process_id == 0 || seats_.contains(seat->process_id));
  seats_.emplace(seat->process_id, seat);
  return seat;
}

void CancelKeys::leave(const std::shared_ptr<Seat>& seat) {
  seat->cancel = nullptr;
  const std::lock_guard lock(mutex_);
  seats_.erase(seat->process_id);
}

bool CancelKeys::cancel(std::uint32_t process_id, std::string_view key, Done done) {
  std::shared_ptr<Seat> seat;
  {
    const std::lock_guard lock(mutex_);
    const auto found = seats_.find(process_id);
    if (found == seats_.end() || !equal_in_constant_time(found->second->key.reveal(), key))
      return false;
    seat = found->second;
  }
  seat->loop->submit([seat, done = std::move(done)] {
    if (seat->cancel) {
      seat->cancel(done);
    } else {
      done();
    }
  });
  return true;
}

std::size_t CancelKeys::count() const {
  const std::lock_guard lock(mutex_);
  return seats_.size();
}

}  // namespace meridian
