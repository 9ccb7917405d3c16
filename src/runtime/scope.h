#pragma once
// A Scope owns the fibres that work for one thing (a visit, a door, a pool) and ends with them.
//
// It is the only way to start a fibre. The owner awaits join() or close() before the Scope ends;
// the destructor asserts it. Belongs to one loop.

#include "base/list.h"
#include "runtime/async.h"
#include "runtime/event.h"
#include "runtime/loop.h"

#include <coroutine>
#include <cstddef>
#include <exception>

namespace meridian {

class Scope {
 public:
  explicit Scope(Loop& loop) noexcept : loop_(loop), empty_(loop) { empty_.set(); }
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;
  ~Scope() { MERIDIAN_ASSERT(count_ == 0); }

  Loop& loop() noexcept { return loop_; }
  std::size_t count() const noexcept { return count_; }

  // Starts a fibre that runs `work` when the loop comes to it. After cancel() it starts cancelled.
  void spawn(Async<> work);

  // Cancels all fibres, those to come included.
  void cancel() noexcept;
  bool cancelled() const noexcept { return cancelled_; }

  // Waits until every fibre has returned, whatever happens to the waiting one.
  Async<> join();

  // cancel(), then join().
  Async<> close();

  // Destroys the fibres where they wait, as a crash would. For simulation, and for a loop that has
  // ended.
  void abandon() noexcept;

 private:
  struct FibreTag;
  struct Root;
  class RootFibre;

  static Root run(Scope& scope, Async<> work);

  Loop& loop_;
  List<RootFibre, FibreTag> fibres_;
  std::size_t count_ = 0;
  bool cancelled_ = false;
  Event empty_;
};

// The fibre itself, kept in the promise of its outermost coroutine.
class Scope::RootFibre : public Fibre, public ListNode<FibreTag> {
 public:
  explicit RootFibre(Loop& loop) noexcept : Fibre(loop) {}
  std::coroutine_handle<> handle;
};

}  // namespace meridian
