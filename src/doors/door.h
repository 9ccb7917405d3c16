#pragma once
// A door is one protocol's way in: postgres, redis, http, ...
//
// A door only translates. It decodes with a codec from wire/, asks the gate and the nouns behind it
// on behalf of a principal, and encodes the answer. Who may do what is decided in gate/, never
// here. Accepting, limits, draining and the records of coming and going belong to DoorHost, so a
// door is one coroutine that sees one visit, and runs unchanged on a simulated stream. Each loop
// has doors of its own.

#include "doors/visit.h"
#include "gate/permissions.h"
#include "runtime/async.h"

#include <string_view>

namespace meridian {

class Door {
 public:
  virtual ~Door() = default;

  virtual DoorName name() const noexcept = 0;

  // What is said to a connection that is closed at once since there is no room; empty for nothing.
  // Any thread.
  virtual std::string_view refusal() const noexcept { return {}; }

  // Serves one visit from greeting to close. A failed request is answered in the protocol's own
  // terms and does not end the visit. Says goodbye when the visit is cancelled or draining.
  virtual Async<> serve(Visit& visit) = 0;
};

}  // namespace meridian
