#pragma once
// LoopThread: an EpollLoop on a thread of its own.

#include "runtime/epoll_loop.h"

#include <thread>

namespace meridian {

// start() and stop() on the thread that made it; loop().submit() from any. What lives on the loop
// is destroyed after stop(), or on the loop before it.
class LoopThread {
 public:
  LoopThread() = default;
  ~LoopThread() { stop(); }
  LoopThread(const LoopThread&) = delete;
  LoopThread& operator=(const LoopThread&) = delete;

  EpollLoop& loop() { return loop_; }

  void start() {
    thread_ = std::thread([this] { loop_.run(); });
  }
  // Returns when the loop has ended. Does nothing when it never started.
  void stop() {
    if (!thread_.joinable()) return;
    loop_.stop();
    thread_.join();
  }

 private:
  EpollLoop loop_;
  std::thread thread_;
};

}  // namespace meridian
