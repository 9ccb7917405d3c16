#include "runtime/epoll_loop.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <limits>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

namespace meridian {
namespace {

constexpr int events_max = 256;  // Taken from the kernel at once.

// How often what became ready by running what was ready runs before the kernel is asked again.
constexpr int passes_max = 4;

Duration read_clock(clockid_t clock) noexcept {
  timespec time{};
  ::clock_gettime(clock, &time);
  return std::chrono::seconds(time.tv_sec) + Duration(time.tv_nsec);
}

}  // namespace

EpollLoop::EpollLoop()
    : epoll_(::epoll_create1(EPOLL_CLOEXEC)), wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  MERIDIAN_ASSERT(epoll_.open() && wake_.open());
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  event.data.ptr = nullptr;  // The loop's own.
  MERIDIAN_ASSERT(::epoll_ctl(epoll_.fd(), EPOLL_CTL_ADD, wake_.fd(), &event) == 0);
}

EpollLoop::~EpollLoop() {
  drop_queues();
}

Time EpollLoop::now() const {
  return Time(read_clock(CLOCK_MONOTONIC));
}

WallTime EpollLoop::wall_now() const {
  return WallTime(std::chrono::floor<std::chrono::microseconds>(read_clock(CLOCK_REALTIME)));
}

void EpollLoop::stop() {
  submit([this] { stopped_ = true; });
}

void EpollLoop::interrupt() noexcept {
  if (!asleep_.exchange(false, std::memory_order_seq_cst)) return;
  const std::uint64_t one = 1;
  // The counter cannot overflow: it is written once for each sleep.
  (void)!::write(wake_.fd(), &one, sizeof(one));
}

void EpollLoop::run() {
  batch_time_ = now();
  while (!stopped_) {
    run_ready();
    run_batch_ends();
    wait();
    accept_submissions();
    batch_time_ = now();
    fire_due(batch_time_);
  }
  stopped_ = false;
}

void EpollLoop::run_ready() {
  std::size_t next = 0;
  for (int pass = 0; pass < passes_max && next < ready_count(); ++pass) {
    const std::size_t end = ready_count();
    for (; next < end; ++next) {
      if (ready_[next]) take_ready(next).run();
    }
  }
  compact_ready();
}

void EpollLoop::wait() {
  int timeout = 0;
  if (!any_ready() && !any_batch_ends() && !stopped_) {
    asleep_.store(true, std::memory_order_seq_cst);
    if (any_submissions()) {
      asleep_.store(false, std::memory_order_relaxed);
    } else {
      const Time due = next_due();
      if (due == Time::max()) {
        timeout = -1;
      } else {
        // Rounded up: a timer must not fire before its time, and waking early only to wait again is
        // waste.
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(due - now()).count();
        timeout =
            left < 0
                ? 0
                : static_cast<int>(std::min<std::int64_t>(left, std::numeric_limits<int>::max()));
      }
    }
  }
  std::array<epoll_event, events_max> events;
  if (timeout != 0) {
    observers_.for_each([](LoopObserver& observer) { observer.before_wait(); });
  }
  const int count = ::epoll_wait(epoll_.fd(), events.data(), events_max, timeout);
  if (timeout != 0) {
    asleep_.store(false, std::memory_order_relaxed);
    observers_.for_each([](LoopObserver& observer) { observer.after_wait(); });
  } else {
    // Passing through counts too: nothing is held between batches.
    observers_.for_each([](LoopObserver& observer) {
      observer.before_wait();
      observer.after_wait();
    });
  }
  MERIDIAN_ASSERT(count >= 0 || errno == EINTR);
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = events[static_cast<std::size_t>(i)];
    dispatch(event.data.ptr, event.events);
  }
}

void EpollLoop::dispatch(void* target, std::uint32_t events) {
  if (target) {
    static_cast<Watch*>(target)->on_events(events);
    return;
  }
  std::uint64_t count = 0;
  (void)!::read(wake_.fd(), &count, sizeof(count));
}

EpollLoop::Watch::Watch(EpollLoop& loop, int fd) : loop_(loop), fd_(fd) {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLRDHUP | EPOLLET;
  event.data.ptr = this;
  MERIDIAN_ASSERT(::epoll_ctl(loop_.epoll_.fd(), EPOLL_CTL_ADD, fd_, &event) == 0);
}

EpollLoop::Watch::~Watch() {
  MERIDIAN_ASSERT(reads_.empty() && writes_.empty());
  epoll_event event{};
  ::epoll_ctl(loop_.epoll_.fd(), EPOLL_CTL_DEL, fd_, &event);
}

void EpollLoop::Watch::update(bool want_write) noexcept {
  if (watching_write_ == want_write) return;
  watching_write_ = want_write;
  modify();
}

void EpollLoop::Watch::rearm() noexcept {
  readable_ = hung_up_;
  modify();
}

void EpollLoop::Watch::modify() noexcept {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLRDHUP | EPOLLET | (watching_write_ ? EPOLLOUT : 0U);
  event.data.ptr = this;
  MERIDIAN_ASSERT(::epoll_ctl(loop_.epoll_.fd(), EPOLL_CTL_MOD, fd_, &event) == 0);
}

bool EpollLoop::Watch::watch(IoWait& wait, Interest interest) {
  if (interest == Interest::read) {
    if (readable_) return false;
    reads_.push_back(wait);
  } else {
    if (writable_) return false;
    writes_.push_back(wait);
    // Asked for only while somebody waits: a Unix socket reports "writable" after every read of the
    // peer.
    update(true);
  }
  return true;
}

void EpollLoop::Watch::on_events(std::uint32_t events) noexcept {
  if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) hung_up_ = true;
  if (hung_up_ || (events & EPOLLIN) != 0) {
    readable_ = true;
    wake_all(reads_);
  }
  if ((events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0) {
    writable_ = true;
    wake_all(writes_);
    update(false);
  }
}

void EpollLoop::Watch::wake_all_waits() noexcept {
  readable_ = writable_ = hung_up_ = true;
  wake_all(reads_);
  wake_all(writes_);
}

}  // namespace meridian
