#pragma once
// Async<T>: a coroutine that gives a T later. Fibre: a chain of them that runs as one.
//
// An Async is lazy: it starts when awaited, and is awaited in the expression that made it (or given
// to Scope::spawn). It runs on one loop from start to end. Exceptions do not leave it: they end the
// process.
//
// Cancelling a fibre means: stop soon, the answer is not needed. The operation that it waits in
// ends with Wake::cancelled, and so does every later one, until the fibre returns. A Shield holds
// that off for clean-up.

#include "base/assert.h"
#include "base/list.h"
#include "base/result.h"
#include "runtime/deadline.h"

#include <coroutine>
#include <cstdint>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

namespace meridian {

class Loop;
class Suspension;

// How a wait ended.
enum class Wake : std::uint8_t { ready, timeout, cancelled };

// For waits whose caller only wants an Error: ready is success. `waited_for` names it: "a free
// backend".
Result<void> to_result(Wake wake, std::string_view waited_for);

class Fibre {
 public:
  explicit Fibre(Loop& loop) noexcept : loop_(loop) {}
  Fibre(const Fibre&) = delete;
  Fibre& operator=(const Fibre&) = delete;

  Loop& loop() noexcept { return loop_; }

  // True from cancel() on, except under a Shield.
  bool cancelled() const noexcept { return cancelled_ && shields_ == 0; }

  void cancel() noexcept;

 private:
  friend class Shield;
  friend class Suspension;

  Loop& loop_;
  Suspension* pending_ = nullptr;  // Where the fibre waits now.
  std::uint32_t shields_ = 0;
  bool cancelled_ = false;
};

// While it lives, its fibre's waits ignore cancellation. For clean-up that must run to its end:
// keep it bounded by a deadline.
class Shield {
 public:
  explicit Shield(Fibre& fibre) noexcept : fibre_(fibre) { ++fibre_.shields_; }
  Shield(const Shield&) = delete;
  Shield& operator=(const Shield&) = delete;
  ~Shield() { --fibre_.shields_; }

 private:
  Fibre& fibre_;
};

// Something that a loop runs once.
class Ready {
 public:
  Ready() = default;
  Ready(const Ready&) = delete;
  Ready& operator=(const Ready&) = delete;

  virtual void run() = 0;

 protected:
  ~Ready();  // Leaves the loop's queue if it is in it.

 private:
  friend class Loop;

  Loop* queued_in_ = nullptr;
  std::size_t queue_index_ = 0;
};

struct DeadlineTag;

// What every promise knows: whose fibre it belongs to and who waits for it.
struct PromiseBase {
  Fibre* fibre = nullptr;
  std::coroutine_handle<> continuation;
};

// The base of every awaiter that really waits. A derived class is the place where the fibre is
// parked: it links itself to what it waits for, and unlinks when told to detach or when it ends.
class Suspension : public Ready, public ListNode<DeadlineTag> {
 public:
  // Ends the wait: the fibre runs on with this outcome when the loop comes to it. On the fibre's
  // loop only, and only while waiting.
  void wake(Wake outcome) noexcept;

  bool waiting() const noexcept { return waiting_; }
  Deadline deadline() const noexcept { return deadline_; }
  Fibre& fibre() noexcept { return *fibre_; }

  void run() final { handle_.resume(); }

 protected:
  explicit Suspension(Deadline deadline = Deadline::never()) noexcept : deadline_(deadline) {}
  ~Suspension();

  // Parks the fibre. False when it need not be: it is cancelled, or the deadline has passed; the
  // outcome is set.
  template <class Promise>
  bool park(std::coroutine_handle<Promise> handle) noexcept {
    static_assert(std::is_base_of_v<PromiseBase, Promise>);
    return park(handle, *handle.promise().fibre);
  }

  // Takes back a park() before the fibre was suspended.
  void unpark(Wake outcome) noexcept;

  Wake outcome() const noexcept { return outcome_; }

  // Unlinks from what is waited for; called before the fibre is woken by a cancel or a deadline.
  virtual void detach() noexcept = 0;

 private:
  friend class Fibre;
  friend class Loop;

  bool park(std::coroutine_handle<> handle, Fibre& fibre) noexcept;

  std::coroutine_handle<> handle_;
  Fibre* fibre_ = nullptr;
  Deadline deadline_;
  Wake outcome_ = Wake::ready;
  bool waiting_ = false;
};

namespace detail {

struct FinalAwaiter {
  bool await_ready() const noexcept { return false; }
  template <class Promise>
  std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> handle) const noexcept {
    return handle.promise().continuation;
  }
  void await_resume() const noexcept {}
};

template <class T>
struct Promise : PromiseBase {
  std::optional<T> value;

  std::suspend_always initial_suspend() const noexcept { return {}; }
  FinalAwaiter final_suspend() const noexcept { return {}; }
  [[noreturn]] void unhandled_exception() const noexcept { std::terminate(); }

  template <class U>
    requires std::is_constructible_v<T, U&&>
  void return_value(U&& result) {
    value.emplace(std::forward<U>(result));
  }
  void return_value(T&& result) { value.emplace(std::move(result)); }

  std::coroutine_handle<Promise> get_return_object() noexcept {
    return std::coroutine_handle<Promise>::from_promise(*this);
  }
  T take() { return std::move(*value); }
};

template <>
struct Promise<void> : PromiseBase {
  std::suspend_always initial_suspend() const noexcept { return {}; }
  FinalAwaiter final_suspend() const noexcept { return {}; }
  [[noreturn]] void unhandled_exception() const noexcept { std::terminate(); }
  void return_void() const noexcept {}

  std::coroutine_handle<Promise> get_return_object() noexcept {
    return std::coroutine_handle<Promise>::from_promise(*this);
  }
  void take() const noexcept {}
};

}  // namespace detail

template <class T = void>
class [[nodiscard]] Async {
 public:
  using promise_type = detail::Promise<T>;

  Async(std::coroutine_handle<promise_type> handle) noexcept
      : handle_(handle) {}  // NOLINT: the compiler's
  Async(Async&& other) noexcept : handle_(std::exchange(other.handle_, {})) {}
  Async& operator=(Async&&) = delete;
  ~Async() {
    if (handle_) handle_.destroy();
  }

  class Awaiter {
   public:
    explicit Awaiter(std::coroutine_handle<promise_type> handle) noexcept : handle_(handle) {}

    bool await_ready() const noexcept { return false; }
    template <class Promise>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> caller) noexcept {
      static_assert(std::is_base_of_v<PromiseBase, Promise>);
      handle_.promise().fibre = caller.promise().fibre;
      handle_.promise().continuation = caller;
      return handle_;
    }
    T await_resume() { return handle_.promise().take(); }

   private:
    std::coroutine_handle<promise_type> handle_;
  };

  Awaiter operator co_await() && noexcept { return Awaiter(handle_); }

 private:
  std::coroutine_handle<promise_type> handle_;
};

// `Fibre& fibre = co_await this_fibre();`
struct ThisFibre {
  Fibre* fibre = nullptr;

  bool await_ready() const noexcept { return false; }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
    fibre = handle.promise().fibre;
    return false;
  }
  Fibre& await_resume() const noexcept { return *fibre; }
};
inline ThisFibre this_fibre() noexcept {
  return {};
}

}  // namespace meridian
