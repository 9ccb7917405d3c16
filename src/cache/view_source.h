#pragma once
// Where the values of views come from: one query against the timeline.
//
// Implementations: timeline/postgres by way of app/, and the simulated timeline. Belongs to one
// loop.

#include "base/result.h"
#include "cache/coherence.h"
#include "cache/view.h"
#include "runtime/async.h"
#include "runtime/deadline.h"

#include <memory>
#include <string>
#include <vector>

namespace meridian {

class ViewSource {
 public:
  struct Filled {
    std::shared_ptr<const ViewValue> value;
    BootId boot =
        0;  // The server that answered. A value from another one than the feed's is not kept.
  };

  virtual ~ViewSource() = default;

  // Runs the view's query for these parts as the view's role, in a snapshot taken after the call,
  // on the primary. Errors: invalid (a part that the database refuses), denied, unavailable,
  // timeout, exhausted.
  virtual Async<Result<Filled>> fill(std::shared_ptr<const View> view,
                                     std::vector<std::string> parts,
                                     Deadline deadline) = 0;
};

}  // namespace meridian
