#pragma once
// Statements that may take minutes: given up as soon as the server no longer works on them.

#include "timeline/postgres/backend_watch.h"
#include "timeline/postgres/kept_statements.h"

namespace meridian {

class LongStatements final : public Statements {
 public:
  LongStatements(EpollLoop& loop, const SessionKeeper::Options& options)
      : statements_(loop, options), watch_(loop, options) {}

  Async<Result<Rows>> run(std::string_view sql, Parameters parameters, Deadline deadline) override {
    co_return co_await watch_.guard(statements_.run(sql, parameters, deadline),
                                    [this] { return statements_.process_id(); });
  }

  Async<> close() {
    co_await watch_.close();
    co_await statements_.close();
  }

 private:
  KeptStatements statements_;
  BackendWatch watch_;
};

}  // namespace meridian
