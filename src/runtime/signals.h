#pragma once
// Signals as something a fibre waits for.

#include "runtime/epoll_loop.h"
#include "runtime/file.h"

#include <initializer_list>
#include <memory>
#include <optional>

namespace meridian {

class Signals {
 public:
  // Blocks these signals in the calling thread and those that it starts from here on.
  static void block(std::initializer_list<int> numbers);

  // Requires that they are blocked.
  Signals(EpollLoop& loop, std::initializer_list<int> numbers);

  // The next one; nothing when the fibre is cancelled.
  Async<std::optional<int>> next();

 private:
  File file_;
  std::unique_ptr<EpollLoop::Watch> watch_;
};

}  // namespace meridian
