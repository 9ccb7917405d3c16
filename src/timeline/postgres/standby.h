#pragma once
// Makes the database's commits wait for the feed, for commit_wait = database: the feed's name is
// that of the one synchronous standby.
//
// The server's sessions learn of the setting at a moment of their own, so neither direction counts
// before a commit has shown it: one that returns though nobody confirms it, and one that does not.
//
// Belongs to one loop. close() before it ends.

#include "base/result.h"
#include "runtime/async.h"
#include "runtime/deadline.h"
#include "runtime/event.h"
#include "runtime/scope.h"
#include "timeline/postgres/session_keeper.h"

#include <memory>
#include <string>

namespace meridian {

class SynchronousStandby {
 public:
  SynchronousStandby(EpollLoop& loop, SessionKeeper::Options session, const std::string& name);

  // A statement for the session that streams, which gives true when this node may go on: one node
  // that `confirms` is alone, for the server waits for one standby of our name, whichever that is,
  // and would not wait for another node's cache. The lock goes with the session.
  static std::string_view claim(bool confirms) noexcept;

  // Afterwards commits wait for nobody. Done before a replication slot is made, which waits for the
  // transactions that run and would wait for those that wait for us. Errors: invalid, where the
  // commits wait for another's standby, which is left alone; denied; unavailable; timeout.
  Async<Result<void>> withdraw(Deadline deadline);

  // Withdraws what a node with commit_wait = database may have left behind, and nothing else.
  Async<Result<void>> withdraw_remains(Deadline deadline);

  // At the end of a node: as withdraw_remains(), unless another one has taken over meanwhile, whose
  // it is to do then.
  Async<Result<void>> withdraw_at_end(Deadline deadline);

  // Afterwards every commit waits until the feed confirms it. The feed has to be streaming, and
  // must confirm nothing meanwhile. Errors: denied, unavailable, timeout.
  Async<Result<void>> engage(Deadline deadline);

  // The value of synchronous_standby_names while we are engaged.
  const std::string& names() const noexcept { return names_; }

  Async<> close();

 private:
  struct Probe;

  Async<Result<void>> reset(Deadline deadline);
  Async<Result<void>> commit(Deadline deadline);

  EpollLoop& loop_;
  SessionKeeper admin_;
  SessionKeeper prober_;
  std::string names_;
  Scope scope_;
};

}  // namespace meridian
