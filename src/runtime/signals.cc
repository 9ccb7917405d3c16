#include "runtime/signals.h"

#include <pthread.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

namespace meridian {
namespace {

sigset_t to_set(std::initializer_list<int> numbers) {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int number : numbers)
    ::sigaddset(&set, number);
  return set;
}

}  // namespace

void Signals::block(std::initializer_list<int> numbers) {
  const sigset_t set = to_set(numbers);
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

Signals::Signals(EpollLoop& loop, std::initializer_list<int> numbers) {
  const sigset_t set = to_set(numbers);
  file_ = File(::signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
  MERIDIAN_ASSERT(file_.open());
  watch_ = std::make_unique<EpollLoop::Watch>(loop, file_.fd());
}

Async<std::optional<int>> Signals::next() {
  for (;;) {
    signalfd_siginfo info;
    if (::read(file_.fd(), &info, sizeof(info)) == static_cast<ssize_t>(sizeof(info))) {
      co_return static_cast<int>(info.ssi_signo);
    }
    watch_->rearm();
    if (co_await watch_->readable() != Wake::ready) co_return std::nullopt;
  }
}

}  // namespace meridian
