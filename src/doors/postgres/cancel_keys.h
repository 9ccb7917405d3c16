#pragma once
// The keys that clients cancel with: ours, made by chance, never the server's own.
//
// Any thread. A key says which visit; whether there is still something to cancel is for the visit
// to say, on its own loop.

#include "base/random.h"
#include "base/secret.h"
#include "runtime/loop.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

namespace meridian {

class CancelKeys {
 public:
  // Told when a cancel has reached the server, or had nothing to reach. From any loop.
  using Done = std::function<void()>;

  // One visit's place. `cancel` runs on the loop, and no more once the seat was left there.
  struct Seat {
    Loop* loop = nullptr;
    std::function<void(Done)> cancel;
    std::uint32_t process_id = 0;
    Secret key;
  };

  // A new key of this size: 4 bytes for protocol 3.0, 32 for 3.2.
  std::shared_ptr<Seat> issue(Loop& loop, std::size_t key_size, std::function<void(Done)> cancel);

  // On the seat's loop.
  void leave(const std::shared_ptr<Seat>& seat);

  // False when no visit has this key; `done` is not called then.
  bool cancel(std::uint32_t process_id, std::string_view key, Done done);

  std::size_t count() const;

 private:
  mutable std::mutex mutex_;
  std::unordered_map<std::uint32_t, std::shared_ptr<Seat>> seats_;
};

}  // namespace meridian
