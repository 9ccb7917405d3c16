#pragma once
// Threads for what blocks: name resolution, files, outside HTTP. A fibre awaits the answer on its
// own loop.

#include "runtime/async.h"
#include "runtime/event.h"
#include "runtime/loop.h"

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

namespace meridian {

// Any thread may run() on it. The destructor waits for what is running and drops what is queued.
class BlockingPool {
 public:
  static constexpr std::size_t queued_max = 1'024;

  explicit BlockingPool(std::size_t threads_count);
  BlockingPool(const BlockingPool&) = delete;
  BlockingPool& operator=(const BlockingPool&) = delete;
  ~BlockingPool();

  // Runs `work` on one of the threads and gives what it returned. `work` owns what it needs: when
  // the waiting fibre is cancelled it runs on, and its result is dropped. Errors: exhausted
  // (queued_max), cancelled.
  template <class Work>
  auto run(Work work) -> Async<Result<std::invoke_result_t<Work&>>> {
    using Answer = std::invoke_result_t<Work&>;
    Loop& loop = (co_await this_fibre()).loop();
    struct Shared {
      explicit Shared(Loop& owner) : done(owner) {}
      Event done;
      std::optional<Answer> value;
    };
    auto shared = std::make_shared<Shared>(loop);
    const bool queued = queue([&loop, shared, work = std::move(work)]() mutable {
      loop.submit([shared = std::move(shared), value = work()]() mutable {
        shared->value.emplace(std::move(value));
        shared->done.set();
      });
    });
    if (!queued) {
      co_return fail(Errc::exhausted,
                     "the blocking pool has " + std::to_string(queued_max) + " jobs queued");
    }
    MERIDIAN_CO_CHECK(to_result(co_await shared->done.wait(), "a blocking job"));
    co_return std::move(*shared->value);
  }

 private:
  bool queue(std::move_only_function<void()> job);
  void serve();

  std::mutex mutex_;
  std::condition_variable wanted_;
  std::deque<std::move_only_function<void()>> jobs_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace meridian
