#pragma once
// A call from a fibre of one loop into another loop.

#include "runtime/async.h"
#include "runtime/event.h"
#include "runtime/loop.h"

#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace meridian {

// Runs `work`, which owns what it needs, on `other` and gives what it returned. The other loop must
// outlive the call. Errors: cancelled; the work runs all the same.
template <class Work>
auto call_on(Loop& other, Work work) -> Async<Result<std::invoke_result_t<Work&>>> {
  using Answer = std::invoke_result_t<Work&>;
  Loop& home = (co_await this_fibre()).loop();
  struct Shared {
    explicit Shared(Loop& owner) : done(owner) {}
    Event done;
    std::conditional_t<std::is_void_v<Answer>, bool, std::optional<Answer>> value{};
  };
  auto shared = std::make_shared<Shared>(home);
  other.submit([&home, shared, work = std::move(work)]() mutable {
    if constexpr (std::is_void_v<Answer>) {
      work();
      home.submit([shared = std::move(shared)] { shared->done.set(); });
    } else {
      home.submit([shared = std::move(shared), value = work()]() mutable {
        shared->value.emplace(std::move(value));
        shared->done.set();
      });
    }
  });
  MERIDIAN_CO_CHECK(to_result(co_await shared->done.wait(), "another loop"));
  if constexpr (std::is_void_v<Answer>) {
    co_return Result<void>();
  } else {
    co_return std::move(*shared->value);
  }
}

}  // namespace meridian
