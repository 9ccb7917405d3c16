#include "runtime/scope.h"

namespace meridian {

struct Scope::Root {
  struct promise_type : PromiseBase {
    promise_type(Scope& owner, Async<>&) noexcept : scope(owner), root(owner.loop_) {
      fibre = &root;
      root.handle = std::coroutine_handle<promise_type>::from_promise(*this);
      scope.fibres_.push_back(root);
      if (scope.count_++ == 0) scope.empty_.reset();
      if (scope.cancelled_) root.cancel();
    }
    ~promise_type() {
      root.unlink();
      if (--scope.count_ == 0) scope.empty_.set();
    }

    // Runs from the loop's queue, so that spawn() returns before its fibre does anything.
    struct Start final : Ready {
      bool await_ready() const noexcept { return false; }
      void await_suspend(std::coroutine_handle<promise_type> handle) noexcept {
        waiting = handle;
        handle.promise().root.loop().make_ready(*this);
      }
      void await_resume() const noexcept {}
      void run() override { waiting.resume(); }
      std::coroutine_handle<> waiting;
    };

    Start initial_suspend() const noexcept { return {}; }
    std::suspend_never final_suspend() const noexcept { return {}; }
    [[noreturn]] void unhandled_exception() const noexcept { std::terminate(); }
    void return_void() const noexcept {}
    Root get_return_object() const noexcept { return {}; }

    Scope& scope;
    RootFibre root;
  };
};

Scope::Root Scope::run(Scope& /*scope*/, Async<> work) {
  co_await std::move(work);
}

void Scope::spawn(Async<> work) {
  run(*this, std::move(work));
}

void Scope::cancel() noexcept {
  cancelled_ = true;
  fibres_.for_each([](RootFibre& fibre) { fibre.cancel(); });
}

Async<> Scope::join() {
  const Shield shield(co_await this_fibre());
  while (count_ != 0)
    (void)co_await empty_.wait();
}

Async<> Scope::close() {
  cancel();
  co_await join();
}

void Scope::abandon() noexcept {
  while (!fibres_.empty())
    fibres_.front().handle.destroy();
}

}  // namespace meridian
