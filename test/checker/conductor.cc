#include "test/checker/conductor.h"

namespace checker {

void Conductor::rest_if_told() {
  if (!resting_) return;
  std::unique_lock lock(mutex_);
  ++at_rest_;
  changed_.notify_all();
  changed_.wait(lock, [&] { return !resting_; });
  --at_rest_;
}

void Conductor::enter() {
  const std::lock_guard lock(mutex_);
  ++writers_;
}

void Conductor::leave() {
  const std::lock_guard lock(mutex_);
  --writers_;
  changed_.notify_all();
}

bool Conductor::rest(std::chrono::seconds within) {
  std::unique_lock lock(mutex_);
  resting_ = true;
  if (changed_.wait_for(lock, within, [&] { return at_rest_ == writers_; })) return true;
  resting_ = false;
  changed_.notify_all();
  return false;
}

void Conductor::go_on() {
  const std::lock_guard lock(mutex_);
  resting_ = false;
  changed_.notify_all();
}

void Conductor::enter_async() {
  const std::lock_guard lock(mutex_);
  ++async_;
}

void Conductor::leave_async() {
  const std::lock_guard lock(mutex_);
  --async_;
  changed_.notify_all();
}

bool Conductor::calm(std::chrono::seconds within) {
  std::unique_lock lock(mutex_);
  safe_ = 0;
  calm_ = true;
  if (changed_.wait_for(lock, within, [&] { return safe_ >= async_; })) return true;
  calm_ = false;
  return false;
}

void Conductor::be_wild() {
  const std::lock_guard lock(mutex_);
  calm_ = false;
}

void Conductor::say_safe(bool& said) {
  const std::lock_guard lock(mutex_);
  if (!calm_ || said) return;
  said = true;
  ++safe_;
  changed_.notify_all();
}

}  // namespace checker
