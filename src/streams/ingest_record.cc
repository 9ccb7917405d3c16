// What the trail has of a rule's batches (streams/ingest.h).

#include "streams/ingest.h"

#include <algorithm>
#include <set>

namespace meridian {

Async<Result<void>> IngestRule::record(const IngestBatch& batch,
                                       const Claim& claim,
                                       const BatchResult& result,
                                       Time from) {
  trail::IngestBatch entry{
      .rule = rule_.name(),
      .stream = stream_,
      .epoch = claim.epoch,
      .number = claim.number,
      .first_sequence = UINT64_MAX,
      .last_sequence = 0,
      .rows_count = result.rows_count,
      .duplicates_count = result.duplicates_count,
      .dead_count = result.dead_count,
      .requests = {},
      .duration = loop_.now() - from,
      .cause = claim.kind == BatchKind::ingest ? std::string_view() : to_string(claim.kind)};
  std::set<std::string_view> requests;
  for (const IngestMessage& message : batch.messages()) {
    entry.first_sequence = std::min(entry.first_sequence, message.place.sequence);
    entry.last_sequence = std::max(entry.last_sequence, message.place.sequence);
    if (!message.producer.request.empty()) requests.insert(message.producer.request);
  }
  // As many records as it takes to name all requests that the batch is of.
  std::string list;
  auto each = requests.begin();
  do {
    list.clear();
    while (each != requests.end() &&
           list.size() + each->size() + 1 <= trail::IngestBatch::requests_size_max) {
      list += (list.empty() ? "" : " ") + std::string(*each++);
    }
    if (list.empty() && each != requests.end()) ++each;  // One that is no request id.
    entry.requests = list;
    MERIDIAN_CO_CHECK(parts_.trail.append({.request = request_of(batch, claim)}, entry));
  } while (each != requests.end());
  co_return Result<void>();
}

}  // namespace meridian
