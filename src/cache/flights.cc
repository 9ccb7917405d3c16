#include "cache/flights.h"

#include <utility>

namespace meridian {

bool FlightBoard::joinable(const Flight& flight) const noexcept {
  if (!flight.begun || coherence_.mutations().naive_join) return true;
  // While the valve is shut, commits are acknowledged before the feed delivers them, so a valid
  // stamp proves nothing.
  return coherence_.serving() && flight.stamp && coherence_.valid(*flight.stamp);
}

void FlightBoard::set_key(Flight& flight, const ViewKey& key) {
  flight.view = key.view->shared_from_this();
  flight.key = key.text;
  flight.parts.assign(key.part_list().begin(), key.part_list().end());
  flight.hash = key.hash;
}

FlightBoard::Boarded FlightBoard::board(const ViewKey& key,
                                        ViewReader& reader,
                                        std::shared_ptr<Passenger> passenger,
                                        std::shared_ptr<Flight>& flight) {
  Part& part = part_of(key.hash);
  const std::lock_guard lock(part.mutex);
  Lane& lane = part.lanes[std::string(key.text)];
  // A flight by the definition of before is not what a reader that knows a newer one asks for.
  const bool current = lane.flying && lane.flying->view->generation >= key.view->generation;
  if (current && joinable(*lane.flying)) {
    lane.flying->passengers.push_back(std::move(passenger));
    return Boarded::joined;
  }
  if (lane.queued) {
    if (lane.queued->view->generation < key.view->generation) set_key(*lane.queued, key);
    lane.queued->passengers.push_back(std::move(passenger));
    return Boarded::joined;
  }
  auto made = std::make_shared<Flight>();
  set_key(*made, key);
  made->pilot = &reader;
  made->passengers.push_back(std::move(passenger));
  if (lane.flying) {
    lane.queued = std::move(made);
    return Boarded::queued;
  }
  lane.flying = made;
  flight = std::move(made);
  return Boarded::starts;
}

void FlightBoard::begin(Flight& flight, std::optional<SlotStamp> stamp) {
  const std::lock_guard lock(part_of(flight.hash).mutex);
  flight.begun = true;
  flight.stamp = stamp;
}

FlightBoard::Landing FlightBoard::land(const std::shared_ptr<Flight>& flight) {
  Part& part = part_of(flight->hash);
  const std::lock_guard lock(part.mutex);
  const auto lane = part.lanes.find(flight->key);
  MERIDIAN_ASSERT(lane != part.lanes.end() && lane->second.flying == flight);
  Landing landing{.passengers = std::move(flight->passengers), .next = lane->second.queued};
  if (landing.next) {
    lane->second.flying = std::exchange(lane->second.queued, nullptr);
  } else {
    part.lanes.erase(lane);
  }
  return landing;
}

std::size_t FlightBoard::count() const {
  std::size_t count = 0;
  for (const Part& part : parts_) {
    const std::lock_guard lock(part.mutex);
    count += part.lanes.size();
  }
  return count;
}

}  // namespace meridian
