#pragma once
// Lets those who write rest, and knows when all of them do.

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>

namespace checker {

class Conductor {
 public:
  // Those who have come to rest wait until they may go on. Called between two changes, by everybody
  // who writes.
  void rest_if_told();

  // A writer has begun, or ended; only those between are waited for.
  void enter();
  void leave();

  // Tells all to rest, and waits until they do. False when some do not within the time: all go on.
  bool rest(std::chrono::seconds within);
  void go_on();

  // Commits that a crash of the database may undo are not to be made until they may be again. Who
  // makes such commits says when the last of them is safe.
  void enter_async();
  void leave_async();
  bool calm(std::chrono::seconds within);
  void be_wild();
  bool is_calm() const noexcept { return calm_; }
  void say_safe(bool& said);

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<bool> resting_{false};
  std::atomic<bool> calm_{false};
  unsigned writers_ = 0;
  unsigned at_rest_ = 0;
  unsigned async_ = 0;
  unsigned safe_ = 0;
};

}  // namespace checker
