#pragma once
// Whether the server still works on what a session has asked for.
//
// A network that is cut says nothing of it, and where something stands between that keeps the
// connections open, TCP does not find out either. An answer that takes minutes is then not told
// from one that never comes: so the server itself is asked, over a connection of the watch's own.
//
// Belongs to one loop. close() before it ends.

#include "base/function_ref.h"
#include "timeline/postgres/session_keeper.h"

namespace meridian {

class BackendWatch {
 public:
  static constexpr Duration look_every = std::chrono::seconds(5);
  // So often in a row the server's process is found idle, or gone, before its answer is given up.
  static constexpr int idle_looks_max = 2;

  // `options`: the same server and the same user as the sessions that are watched.
  BackendWatch(EpollLoop& loop, SessionKeeper::Options options)
      : loop_(loop), asking_(loop, std::move(options)) {}

  // What `work` gives. `process_id` is that of the session's backend, zero while there is none.
  // Errors: those of `work`; unavailable when the server no longer works on it, and `work` was
  // cancelled.
  Async<Result<Rows>> guard(Async<Result<Rows>> work, FunctionRef<int()> process_id);

  Async<> close() { co_await asking_.close(); }

 private:
  Async<Result<bool>> at_work(int process_id);

  EpollLoop& loop_;
  SessionKeeper asking_;
};

}  // namespace meridian
