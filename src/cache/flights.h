#pragma once
// Flights: the fills under way, shared by all loops, so that many readers of a key cost one query.
//
// A reader may share a flight that has not begun (its snapshot will be later than the reader), or
// one whose value may be kept and was not invalidated since it began (I5). Otherwise it waits for
// the next one: a key has at most one flight in the air and one that waits for it to land. After
// the views changed a reader does not share a flight by their earlier definition.

#include "base/result.h"
#include "cache/coherence.h"
#include "cache/view.h"
#include "runtime/event.h"
#include "runtime/loop.h"

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace meridian {

class ViewReader;

// One reader's place on a flight. Lives on the reader's loop; the landing is told to it there.
struct Passenger {
  explicit Passenger(Loop& home) : loop(home), landed(home) {}

  Loop& loop;
  Event landed;
  std::optional<Result<std::shared_ptr<const ViewValue>>> result;
};

struct Flight {
  std::shared_ptr<const View> view;
  std::string key;
  std::vector<std::string> parts;
  std::uint64_t hash = 0;
  ViewReader* pilot = nullptr;     // Whose loop runs the query.
  bool begun = false;              // The rest is guarded by the board's lock.
  std::optional<SlotStamp> stamp;  // Nothing: its value may not be kept.
  std::vector<std::shared_ptr<Passenger>> passengers;
};

// Any thread.
class FlightBoard {
 public:
  explicit FlightBoard(Coherence& coherence) noexcept : coherence_(coherence) {}

  enum class Boarded : std::uint8_t { joined, queued, starts };

  // Finds a flight for the reader. `starts`: the caller flies it; `flight` is set then.
  Boarded board(const ViewKey& key,
                ViewReader& reader,
                std::shared_ptr<Passenger> passenger,
                std::shared_ptr<Flight>& flight);

  // Fixes from when on the flight's value counts. Just before its query is sent.
  void begin(Flight& flight, std::optional<SlotStamp> stamp);

  struct Landing {
    std::vector<std::shared_ptr<Passenger>> passengers;
    std::shared_ptr<Flight> next;  // Its pilot may start now.
  };
  Landing land(const std::shared_ptr<Flight>& flight);

  std::size_t count() const;

 private:
  struct Lane {
    std::shared_ptr<Flight> flying;
    std::shared_ptr<Flight> queued;
  };
  struct alignas(64) Part {
    mutable std::mutex mutex;
    std::unordered_map<std::string, Lane> lanes;
  };

  Part& part_of(std::uint64_t hash) noexcept { return parts_[hash >> 60]; }
  static void set_key(Flight& flight, const ViewKey& key);
  bool joinable(const Flight& flight) const noexcept;

  Coherence& coherence_;
  std::array<Part, 16> parts_;
};

}  // namespace meridian
