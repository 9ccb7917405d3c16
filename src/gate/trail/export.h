#pragma once
// Records as text: for terminals, as JSON lines, and as OpenTelemetry logs.

#include "gate/trail/json.h"
#include "gate/trail/trail_reader.h"

#include <cstdint>
#include <map>
#include <string>

namespace meridian::trail {

// One line without its end: time, node and shard, visit, kind, then name=value. Text of peers is
// escaped, so that it can steer no terminal.
std::string to_text_line(const Entry& entry);

// One JSON object without a line end. Fields that every record has stand beside those of its kind;
// nil visits and request ids are left out.
std::string to_json_line(const Entry& entry);

// Gathers entries into one object of the OTLP/JSON shape of logs (OpenTelemetry Protocol, "JSON
// Protobuf Encoding"): {"resourceLogs": [...]}, one resource for each node. What a request did has
// its id as traceId, so it joins the request's spans.
class OtlpBatch {
 public:
  // The protocol sets no bound; collectors do, at some megabytes.
  static constexpr std::size_t entries_max = 512;

  void add(const Entry& entry);
  std::size_t count() const noexcept { return count_; }
  bool full() const noexcept { return count_ >= entries_max; }

  // The object, without a line end; the batch is empty afterwards.
  std::string take();

 private:
  std::map<std::string, JsonWriter, std::less<>> nodes_;  // The log records of each, an open array.
  std::size_t count_ = 0;
};

}  // namespace meridian::trail
