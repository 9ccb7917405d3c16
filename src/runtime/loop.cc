#include "runtime/loop.h"

#include <algorithm>

namespace meridian {

struct Loop::Submission final : Ready {
  explicit Submission(std::move_only_function<void()> given) : work(std::move(given)) {}

  void run() override {
    const std::unique_ptr<Submission> self(this);
    work();
  }

  std::move_only_function<void()> work;
};

Loop::Loop() = default;
Loop::~Loop() = default;

void Loop::submit(std::move_only_function<void()> work) {
  auto submission = std::make_unique<Submission>(std::move(work));
  {
    const std::lock_guard lock(submissions_mutex_);
    submissions_.push_back(std::move(submission));
    // Before interrupt() asks whether the loop sleeps, as the loop looks after it said so.
    submitted_.store(true, std::memory_order_seq_cst);
    // Under the lock: whoever accepts the last submission may destroy the loop next.
    if (submissions_.size() == 1) interrupt();
  }
}

bool Loop::any_submissions() noexcept {
  return submitted_.load(std::memory_order_seq_cst);
}

void Loop::accept_submissions() {
  if (!any_submissions()) return;
  std::vector<std::unique_ptr<Submission>> taken;
  {
    const std::lock_guard lock(submissions_mutex_);
    taken.swap(submissions_);
    submitted_.store(false, std::memory_order_relaxed);
  }
  for (auto& submission : taken)
    make_ready(*submission.release());
}

void Loop::make_ready(Ready& ready) noexcept {
  MERIDIAN_ASSERT(ready.queued_in_ == nullptr);
  ready.queued_in_ = this;
  ready.queue_index_ = ready_.size();
  ready_.push_back(&ready);
  ++ready_live_;
}

void Loop::forget(Ready& ready) noexcept {
  MERIDIAN_ASSERT(ready.queued_in_ == this && ready_[ready.queue_index_] == &ready);
  ready_[ready.queue_index_] = nullptr;
  ready.queued_in_ = nullptr;
  --ready_live_;
}

Ready& Loop::take_ready(std::size_t pick) noexcept {
  Ready& ready = *ready_[pick];
  ready_[pick] = nullptr;
  ready.queued_in_ = nullptr;
  --ready_live_;
  return ready;
}

void Loop::compact_ready() noexcept {
  std::size_t kept = 0;
  for (Ready* const ready : ready_) {
    if (!ready) continue;
    ready->queue_index_ = kept;
    ready_[kept++] = ready;
  }
  ready_.resize(kept);
}

void Loop::watch_deadline(Suspension& suspension) noexcept {
  if (wheel_next_ == wheel_empty) wheel_position_ = now().time_since_epoch() / wheel_tick;
  // A deadline fires at the first tick at or after it; one that is more than a turn away is looked
  // at on the way.
  const std::int64_t tick = std::max(
      (suspension.deadline().time().time_since_epoch() + wheel_tick - Duration(1)) / wheel_tick,
      wheel_position_ + 1);
  wheel_[static_cast<std::size_t>(tick) % wheel_slots].push_back(suspension);
  const std::int64_t ahead = (tick - wheel_position_ - 1) % static_cast<std::int64_t>(wheel_slots);
  wheel_next_ = std::min(wheel_next_, wheel_position_ + 1 + ahead);
}

void Loop::fire_due(Time now) {
  while (!timers_.empty() && timers_.begin()->first <= now) {
    Sleep& sleep = *timers_.begin()->second;
    timers_.erase(timers_.begin());
    sleep.fire();
  }
  const std::int64_t present = now.time_since_epoch() / wheel_tick;
  if (present < wheel_next_) return;
  constexpr auto turn = static_cast<std::int64_t>(wheel_slots);
  // After a long pause one look at each slot is enough.
  for (std::int64_t tick = std::max(wheel_position_ + 1, present - turn + 1); tick <= present;
       ++tick) {
    wheel_[static_cast<std::size_t>(tick) % wheel_slots].for_each([&](Suspension& suspension) {
      if (!suspension.deadline().passed(now)) return;
      suspension.detach();
      suspension.wake(Wake::timeout);
    });
  }
  wheel_position_ = present;
  wheel_next_ = wheel_empty;
  for (std::int64_t tick = present + 1; tick <= present + turn; ++tick) {
    if (wheel_[static_cast<std::size_t>(tick) % wheel_slots].empty()) continue;
    wheel_next_ = tick;
    break;
  }
}

Time Loop::next_due() const noexcept {
  const Time timer = timers_.empty() ? Time::max() : timers_.begin()->first;
  return wheel_next_ == wheel_empty ? timer : std::min(timer, Time(wheel_next_ * wheel_tick));
}

void Loop::run_batch_ends() {
  List<BatchEnd, BatchEndTag> due;
  due.take_all(batch_ends_);
  while (!due.empty())
    due.pop_front().on_batch_end();
}

void Loop::drop_queues() noexcept {
  accept_submissions();
  for (std::size_t i = 0; i < ready_.size(); ++i) {
    if (!ready_[i]) continue;
    Ready& ready = take_ready(i);
    if (auto* const submission = dynamic_cast<Submission*>(&ready)) delete submission;
  }
  ready_.clear();
}

}  // namespace meridian
