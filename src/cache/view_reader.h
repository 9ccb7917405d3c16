#pragma once
// Reading views on one loop: a hit from the store, or a flight to the timeline.

#include "base/metrics.h"
#include "base/result.h"
#include "cache/coherence.h"
#include "cache/flights.h"
#include "cache/store.h"
#include "cache/view.h"
#include "runtime/scope.h"
#include "timeline/reader.h"

#include <memory>

namespace meridian {

// What the loops of a node share.
struct ViewCache {
  Coherence& coherence;
  Store& store;
  FlightBoard& flights;
};

struct ViewReaderOptions {
  Duration fill_timeout = std::chrono::seconds(10);  // One query, however many wait for it.
  // What fails because the schema is changing, or because a connection broke, is asked again for so
  // long before the readers are told.
  Duration retry_max = std::chrono::seconds(1);
  Duration retry_pause = std::chrono::milliseconds(5);  // Doubled each time, up to retry_pause_max.
  Duration retry_pause_max = std::chrono::milliseconds(100);
  std::size_t value_bytes_max = 1 << 20;  // Larger values are answered and not kept.
};

// Belongs to one loop. close() before it ends.
class ViewReader {
 public:
  ViewReader(Loop& loop,
             ViewCache cache,
             Reader& reader,
             Metrics& metrics,
             ViewReaderOptions options = {});

  // The kept value, if it may be served now. Borrowed until the loop waits.
  const Entry* hit(const ViewKey& key) noexcept {
    if (!cache_.coherence.serving()) return nullptr;
    const Entry* const entry = cache_.store.find(key.text, key.hash);
    if (!entry || !cache_.coherence.valid(entry->stamp())) return nullptr;
    entry->use();
    hits_.add();
    return entry;
  }

  // Asks for the value as of a moment after the call: it lands with the passenger. Errors in its
  // result: as Reader::read; the flight goes on without who left.
  std::shared_ptr<Passenger> board(const ViewKey& key);

  // Drops the kept value. True when there was one.
  bool forget(const ViewKey& key) { return cache_.store.remove(key.text, key.hash); }

  Async<> close() { co_await scope_.close(); }

 private:
  Async<> fly(std::shared_ptr<Flight> flight);
  Async<Result<ReadRows>> read(const Flight& flight);
  void keep(const Flight& flight, const ViewValue& value, BootId boot);
  static void tell(Passenger& passenger, Result<std::shared_ptr<const ViewValue>> result);

  Loop& loop_;
  ViewCache cache_;
  Reader& reader_;
  ViewReaderOptions options_;
  Scope scope_;
  Counter& hits_;
  Counter& misses_;
  Counter& joins_;
  Counter& fills_;
  Counter& fills_kept_;
  Counter& fills_failed_;
  Counter& fills_retried_;
  Histogram& fill_seconds_;
};

}  // namespace meridian
