#include "streams/progress.h"

#include "base/assert.h"

#include <algorithm>

namespace meridian {

std::deque<Progress::Entry>::iterator Progress::find(std::uint64_t sequence) {
  if (places_.empty() || places_.back().place.sequence < sequence) return places_.end();
  return std::ranges::lower_bound(
      places_, sequence, {}, [](const Entry& entry) { return entry.place.sequence; });
}

void Progress::restore(StreamPlace place) {
  if (place.sequence <= floor_.sequence) return;
  const auto at = find(place.sequence);
  const Entry entry{.place = place, .done = true};
  if (at != places_.end() && at->place.sequence == place.sequence) {
    if (at->place.time < place.time) *at = entry;
    return;
  }
  places_.insert(at, entry);
}

Progress::Arrival Progress::arrive(StreamPlace place) {
  newest_ = std::max(newest_, place.sequence);
  const auto at = find(place.sequence);
  if (at != places_.end() && at->place.sequence == place.sequence) {
    if (at->place.time == place.time) {
      if (!at->done) return Arrival::under_way;
      raise_floor();
      return Arrival::done;
    }
    if (at->done) ++under_way_;
    *at = {.place = place, .done = false};
    return Arrival::reused;
  }
  const bool passed = place.sequence <= floor_.sequence;
  if (passed && place.time <= floor_.time) return Arrival::done;
  places_.insert(at, {.place = place, .done = false});
  ++under_way_;
  return passed ? Arrival::reused : Arrival::fresh;
}

void Progress::finish(std::uint64_t sequence) {
  const auto at = find(sequence);
  MERIDIAN_ASSERT(at != places_.end() && at->place.sequence == sequence && !at->done);
  at->done = true;
  --under_way_;
  raise_floor();
}

void Progress::raise_floor() {
  while (!places_.empty() && places_.front().done && places_.front().place.sequence <= newest_) {
    const StreamPlace place = places_.front().place;
    if (place.sequence >= floor_.sequence) {
      floor_ = {.sequence = place.sequence, .time = std::max(place.time, floor_.time)};
    } else {
      floor_.time = std::max(place.time, floor_.time);
    }
    places_.pop_front();
  }
}

std::uint64_t Progress::first_open() const noexcept {
  std::uint64_t open = floor_.sequence + 1;
  for (const Entry& entry : places_) {
    if (entry.place.sequence != open || !entry.done) break;
    ++open;
  }
  return open;
}

void Progress::advance(StreamPlace place) {
  MERIDIAN_ASSERT(idle());
  if (place.sequence <= floor_.sequence) return;
  while (!places_.empty() && places_.front().place.sequence <= place.sequence)
    places_.pop_front();
  floor_ = {.sequence = place.sequence, .time = std::max(place.time, floor_.time)};
}

}  // namespace meridian
