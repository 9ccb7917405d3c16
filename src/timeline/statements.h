#pragma once
// Our own statements in the timeline's database, each a transaction of its own.
//
// Implementations: timeline/postgres (a session that is made again when it broke) and doubles in
// tests. Belongs to one loop.

#include "base/result.h"
#include "runtime/async.h"
#include "runtime/deadline.h"
#include "timeline/rows.h"

#include <string_view>

namespace meridian {

class Statements {
 public:
  virtual ~Statements() = default;

  // Runs one statement and commits it. Of several under way each is answered in the order of the
  // calls. Errors as the database's; timeout and unavailable leave open whether it was committed:
  // read back, or write so that a second try changes nothing. Text and parameters are copied before
  // the first suspension.
  virtual Async<Result<Rows>> run(std::string_view sql,
                                  Parameters parameters,
                                  Deadline deadline) = 0;
};

}  // namespace meridian
