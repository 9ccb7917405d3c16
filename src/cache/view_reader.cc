#include "cache/view_reader.h"

#include <utility>

namespace meridian {

ViewReader::ViewReader(
    Loop& loop, ViewCache cache, ViewSource& source, Metrics& metrics, ViewReaderOptions options)
    : loop_(loop),
      cache_(cache),
      source_(source),
      options_(options),
      scope_(loop),
      hits_(
          metrics.counter("meridian_cache_hits_total", "Reads of views answered from the cache.")),
      misses_(metrics.counter("meridian_cache_misses_total", "Reads of views that were not kept.")),
      joins_(metrics.counter("meridian_cache_joins_total",
                             "Misses that shared a query with an earlier one.")),
      fills_(metrics.counter("meridian_cache_fills_total", "Queries that filled a view.")),
      fills_kept_(
          metrics.counter("meridian_cache_fills_kept_total", "Fills whose value was kept.")),
      fills_failed_(metrics.counter("meridian_cache_fills_failed_total", "Fills that failed.")),
      fill_seconds_(metrics.histogram("meridian_cache_fill_seconds", "Duration of a fill.")) {}

Async<Result<std::shared_ptr<const ViewValue>>> ViewReader::read(ViewKey key, Deadline deadline) {
  misses_.add();
  auto passenger = std::make_shared<Passenger>(loop_);
  std::shared_ptr<Flight> flight;
  switch (cache_.flights.board(key, *this, passenger, flight)) {
    case FlightBoard::Boarded::starts:
      scope_.spawn(fly(std::move(flight)));
      break;
    case FlightBoard::Boarded::joined:
      joins_.add();
      break;
    case FlightBoard::Boarded::queued:
      break;
  }
  MERIDIAN_CO_CHECK(to_result(co_await passenger->landed.wait(deadline), "the view's query"));
  co_return std::move(*passenger->result);
}

Async<> ViewReader::fly(std::shared_ptr<Flight> flight) {
  const Time begun = loop_.now();
  fills_.add();
  const auto slots =
      dependency_slots(cache_.coherence.slots(),
                       *flight->view,
                       std::vector<std::string_view>(flight->parts.begin(), flight->parts.end()));
  std::optional<SlotStamp> stamp;
  if (slots && flight->view->uncacheable.empty())
    stamp = cache_.coherence.begin_fill(slots->span());
  cache_.flights.begin(*flight, stamp);

  auto filled =
      co_await source_.fill(flight->view, flight->parts, loop_.after(options_.fill_timeout));
  fill_seconds_.observe(loop_.now() - begun);
  Result<std::shared_ptr<const ViewValue>> result =
      filled ? Result<std::shared_ptr<const ViewValue>>(filled->value)
             : std::unexpected(filled.error());
  if (filled) {
    keep(*flight, *filled);
  } else {
    fills_failed_.add();
  }

  FlightBoard::Landing landing = cache_.flights.land(flight);
  for (const auto& passenger : landing.passengers) {
    if (&passenger->loop == &loop_) {
      tell(*passenger, result);
    } else {
      passenger->loop.submit([passenger, result] { tell(*passenger, result); });
    }
  }
  if (landing.next) {
    ViewReader& pilot = *landing.next->pilot;
    pilot.loop_.submit([&pilot, next = std::move(landing.next)]() mutable {
      pilot.scope_.spawn(pilot.fly(std::move(next)));
    });
  }
}

void ViewReader::keep(const Flight& flight, const ViewSource::Filled& filled) {
  if (!flight.stamp || filled.boot == 0 || filled.boot != cache_.coherence.boot()) return;
  if (!cache_.coherence.valid(*flight.stamp)) return;
  ViewKey key;
  key.view = flight.view.get();
  key.text = flight.key;
  key.hash = flight.hash;
  auto entry = Entry::make(key, *filled.value, *flight.stamp);
  if (entry->size() > options_.value_bytes_max) return;
  cache_.store.insert(std::move(entry));
  fills_kept_.add();
}

void ViewReader::tell(Passenger& passenger, Result<std::shared_ptr<const ViewValue>> result) {
  passenger.result.emplace(std::move(result));
  passenger.landed.set();
}

}  // namespace meridian
