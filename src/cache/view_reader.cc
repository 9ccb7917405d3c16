#include "cache/view_reader.h"

#include "base/escape.h"

#include <algorithm>
#include <utility>

namespace meridian {
namespace {

Result<std::shared_ptr<const ViewValue>> to_value(const View& view, const Rows& rows) {
  auto value = std::make_shared<ViewValue>();
  if (rows.count() > 1) {
    return fail(Errc::invalid,
                "view " + quote(view.name) + " gave " + std::to_string(rows.count()) +
                    " rows for one key; its query must give at most one");
  }
  if (rows.count() == 1) {
    value->present = true;
    value->json = rows.text(0, 0);
    for (std::size_t column = 1; column < rows.columns().size(); ++column) {
      const Value& field = rows.at(0, column);
      if (field) value->fields.emplace_back(rows.columns()[column], *field);
    }
  }
  return value;
}

}  // namespace

ViewReader::ViewReader(
    Loop& loop, ViewCache cache, Reader& reader, Metrics& metrics, ViewReaderOptions options)
    : loop_(loop),
      cache_(cache),
      reader_(reader),
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
      fills_retried_(metrics.counter("meridian_cache_fills_retried_total",
                                     "Queries for views that were asked again after an error.")),
      fill_seconds_(metrics.histogram("meridian_cache_fill_seconds", "Duration of a fill.")) {}

std::shared_ptr<Passenger> ViewReader::board(const ViewKey& key) {
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
  return passenger;
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
    stamp = cache_.coherence.begin_fill(slots->span(), flight->view->generation);
  cache_.flights.begin(*flight, stamp);

  auto rows = co_await read(*flight);
  fill_seconds_.observe(loop_.now() - begun);
  auto result = rows ? to_value(*flight->view, rows->rows) : std::unexpected(rows.error());
  if (result) {
    keep(*flight, **result, rows->boot);
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

// A later attempt is as good as the first one: it sees more, and the stamp is of before both.
Async<Result<ReadRows>> ViewReader::read(const Flight& flight) {
  const auto passes = [](Errc code) {
    return code == Errc::unavailable || code == Errc::exhausted || code == Errc::conflict;
  };
  const Deadline deadline = loop_.after(options_.fill_timeout);
  const Deadline patience = loop_.after(options_.retry_max);
  Duration pause = options_.retry_pause;
  for (;;) {
    auto rows = co_await reader_.read(flight.view->read, flight.parts, deadline);
    if (rows || !passes(rows.error().code())) co_return rows;
    if (patience.passed(loop_.now() + pause)) co_return rows;
    fills_retried_.add();
    if (co_await loop_.sleep(pause) != Wake::ready) co_return fail(Errc::cancelled);
    pause = std::min(2 * pause, options_.retry_pause_max);
  }
}

void ViewReader::keep(const Flight& flight, const ViewValue& value, BootId boot) {
  if (!flight.stamp || boot == 0 || boot != cache_.coherence.boot()) return;
  if (!cache_.coherence.valid(*flight.stamp)) return;
  ViewKey key;
  key.view = flight.view.get();
  key.text = flight.key;
  key.hash = flight.hash;
  auto entry = Entry::make(key, value, *flight.stamp);
  if (entry->size() > options_.value_bytes_max) return;
  cache_.store.insert(std::move(entry));
  fills_kept_.add();
}

void ViewReader::tell(Passenger& passenger, Result<std::shared_ptr<const ViewValue>> result) {
  passenger.result.emplace(std::move(result));
  passenger.landed.set();
}

}  // namespace meridian
