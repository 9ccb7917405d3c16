#include "runtime/async.h"

#include "runtime/loop.h"

namespace meridian {

Result<void> to_result(Wake wake, std::string_view waited_for) {
  switch (wake) {
    case Wake::ready:
      return {};
    case Wake::timeout:
      return fail(Errc::timeout, "waited too long for " + std::string(waited_for));
    case Wake::cancelled:
      return fail(Errc::cancelled, "cancelled while waiting for " + std::string(waited_for));
  }
  return fail(Errc::cancelled);
}

void Fibre::cancel() noexcept {
  if (cancelled_) return;
  cancelled_ = true;
  if (pending_ && shields_ == 0) {
    Suspension& pending = *pending_;
    pending.detach();
    pending.wake(Wake::cancelled);
  }
}

Ready::~Ready() {
  if (queued_in_) queued_in_->forget(*this);
}

Suspension::~Suspension() {
  if (waiting_)
    fibre_->pending_ = nullptr;  // The fibre's frames are being destroyed where they wait.
}

bool Suspension::park(std::coroutine_handle<> handle, Fibre& fibre) noexcept {
  if (fibre.cancelled()) {
    outcome_ = Wake::cancelled;
    return false;
  }
  if (!deadline_.is_never()) {
    // As of the batch; one that has passed since fires with the next tick.
    if (deadline_.passed(fibre.loop().batch_time())) {
      outcome_ = Wake::timeout;
      return false;
    }
    fibre.loop().watch_deadline(*this);
  }
  MERIDIAN_ASSERT(fibre.pending_ == nullptr);
  handle_ = handle;
  fibre_ = &fibre;
  fibre.pending_ = this;
  waiting_ = true;
  return true;
}

void Suspension::unpark(Wake outcome) noexcept {
  MERIDIAN_ASSERT(waiting_);
  waiting_ = false;
  fibre_->pending_ = nullptr;
  outcome_ = outcome;
  ListNode<DeadlineTag>::unlink();
}

void Suspension::wake(Wake outcome) noexcept {
  unpark(outcome);
  fibre_->loop().make_ready(*this);
}

}  // namespace meridian
