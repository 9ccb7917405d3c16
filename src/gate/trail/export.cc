#include "gate/trail/export.h"

#include "base/escape.h"
#include "gate/trail/attributes.h"

#include <fmt/format.h>
#include <type_traits>

namespace meridian::trail {
namespace {

constexpr std::size_t value_bytes_shown = 256;  // Of a text on a line for a terminal.

bool plain(std::string_view text) {
  return !text.empty() && text.find_first_of(" =\"\\,[]{}") == std::string_view::npos &&
         escape(text, text.size()) == text;
}

void append_text(std::string& out, const Attributes& attributes);

void append_text(std::string& out, const Attribute& attribute) {
  out += attribute.name;
  out += '=';
  std::visit(
      [&](const auto& value) {
        using Value = std::remove_cvref_t<decltype(value)>;
        if constexpr (std::is_same_v<Value, std::string>) {
          out += plain(value) && value.size() <= value_bytes_shown
                     ? value
                     : quote(value, value_bytes_shown);
        } else if constexpr (std::is_same_v<Value, bool>) {
          out += value ? "yes" : "no";
        } else if constexpr (std::is_same_v<Value, std::uint64_t>) {
          out += std::to_string(value);
        } else {
          out += '[';
          for (const Attributes& item : value) {
            if (out.back() != '[') out += ", ";
            append_text(out, item);
          }
          out += ']';
        }
      },
      attribute.value);
}

// Those that say nothing are left out for the eye.
bool telling(const Attribute& attribute) {
  if (const auto* truth = std::get_if<bool>(&attribute.value)) return *truth;
  if (const auto* number = std::get_if<std::uint64_t>(&attribute.value)) return *number != 0;
  if (const auto* list = std::get_if<std::vector<Attributes>>(&attribute.value)) {
    return !list->empty();
  }
  return true;
}

void append_text(std::string& out, const Attributes& attributes) {
  bool first = true;
  for (const Attribute& attribute : attributes) {
    if (!telling(attribute)) continue;
    if (!first) out += ' ';
    first = false;
    append_text(out, attribute);
  }
}

void append_json(JsonWriter& json, const Attributes& attributes) {
  for (const Attribute& attribute : attributes) {
    std::visit(
        [&](const auto& value) {
          if constexpr (std::is_same_v<std::remove_cvref_t<decltype(value)>,
                                       std::vector<Attributes>>) {
            json.name(attribute.name).open_array();
            for (const Attributes& item : value) {
              json.open_object();
              append_json(json, item);
              json.close_object();
            }
            json.close_array();
          } else {
            json.field(attribute.name, value);
          }
        },
        attribute.value);
  }
}

// 64-bit numbers are strings there, because JSON's are doubles to many readers.
void open_value(JsonWriter& json, std::string_view type) {
  json.name("value").open_object().name(type);
}

void append_otlp(JsonWriter& json, const Attributes& attributes) {
  for (const Attribute& attribute : attributes) {
    json.open_object().field("key", attribute.name);
    std::visit(
        [&](const auto& value) {
          using Value = std::remove_cvref_t<decltype(value)>;
          if constexpr (std::is_same_v<Value, std::string>) {
            open_value(json, "stringValue");
            json.value(value);
          } else if constexpr (std::is_same_v<Value, bool>) {
            open_value(json, "boolValue");
            json.value(value);
          } else if constexpr (std::is_same_v<Value, std::uint64_t>) {
            open_value(json, "intValue");
            json.value(std::to_string(value));
          } else {
            open_value(json, "arrayValue");
            json.open_object().name("values").open_array();
            for (const Attributes& item : value) {
              json.open_object().name("kvlistValue").open_object().name("values").open_array();
              append_otlp(json, item);
              json.close_array().close_object().close_object();
            }
            json.close_array().close_object();
          }
        },
        attribute.value);
    json.close_object().close_object();
  }
}

// What happened as it should, and what somebody may want to be woken for.
struct Severity {
  std::uint64_t number;  // OpenTelemetry, Logs Data Model, "Field: SeverityNumber".
  std::string_view text;
};
Severity severity(RecordKind kind) {
  switch (kind) {
    case RecordKind::refused:
    case RecordKind::denied:
    case RecordKind::interruption:
      return {.number = 13, .text = "WARN"};
    case RecordKind::security:
      return {.number = 17, .text = "ERROR"};
    case RecordKind::node_started:
    case RecordKind::node_stopped:
    case RecordKind::visit_opened:
    case RecordKind::admitted:
    case RecordKind::visit_ended:
    case RecordKind::statement:
    case RecordKind::statement_shape:
    case RecordKind::statement_outcomes:
    case RecordKind::key_reads:
    case RecordKind::key_write:
    case RecordKind::subscription:
    case RecordKind::publications:
    case RecordKind::outbox_publication:
    case RecordKind::ingest_batch:
    case RecordKind::invalidation:
    case RecordKind::administration:
    case RecordKind::retention:
    case RecordKind::head:
      break;
  }
  return {.number = 9, .text = "INFO"};
}

// The fields of its kind, and in their place what is known of a kind that is not.
Attributes known_attributes(const RecordHeader& header, const RecordView& record) {
  if (auto attributes = to_attributes(record)) return std::move(*attributes);
  return {{.name = "kind_number", .value = std::uint64_t{std::to_underlying(header.kind)}},
          {.name = "fields_size", .value = std::uint64_t{record.fields().size()}}};
}

}  // namespace

std::string to_text_line(const Entry& entry) {
  const RecordHeader& header = entry.record.header;
  std::string line =
      fmt::format("{}  {:<12} {:>8}  {:<18}  ",
                  to_rfc3339(header.time),
                  fmt::format("{}/{}", entry.node, entry.shard),
                  header.visit == VisitId() ? "-" : std::to_string(header.visit.value()),
                  to_string(header.kind));
  append_text(line, known_attributes(header, entry.record));
  if (!header.request.nil()) line += " request=" + header.request.to_string();
  return line;
}

std::string to_json_line(const Entry& entry) {
  const RecordHeader& header = entry.record.header;
  JsonWriter json;
  json.open_object()
      .field("time", to_rfc3339(header.time))
      .field("node", entry.node)
      .field("shard", std::uint64_t{entry.shard})
      .field("segment", entry.segment)
      .field("sequence", header.sequence)
      .field("kind", to_string(header.kind));
  if (header.visit != VisitId()) json.field("visit", header.visit.value());
  if (!header.request.nil()) json.field("request", header.request.to_string());
  append_json(json, known_attributes(header, entry.record));
  json.close_object();
  return json.take();
}

void OtlpBatch::add(const Entry& entry) {
  const RecordHeader& header = entry.record.header;
  auto node = nodes_.find(entry.node);
  if (node == nodes_.end()) {
    node = nodes_.emplace(entry.node, JsonWriter()).first;
    node->second.open_array();
  }
  const auto nanos = std::to_string(header.time.time_since_epoch().count()) + "000";
  const Severity level = severity(header.kind);
  JsonWriter& json = node->second;
  json.open_object()
      .field("timeUnixNano", nanos)
      .field("observedTimeUnixNano", nanos)
      .field("severityNumber", level.number)
      .field("severityText", level.text)
      .field("eventName", fmt::format("meridian.trail.{}", to_string(header.kind)));
  json.name("body").open_object().field("stringValue", to_string(header.kind)).close_object();
  if (!header.request.nil()) json.field("traceId", header.request.to_hex());
  Attributes common{{.name = "meridian.shard", .value = std::uint64_t{entry.shard}},
                    {.name = "meridian.segment", .value = entry.segment},
                    {.name = "meridian.sequence", .value = header.sequence}};
  if (header.visit != VisitId()) {
    common.push_back({.name = "meridian.visit", .value = header.visit.value()});
  }
  json.name("attributes").open_array();
  append_otlp(json, common);
  append_otlp(json, known_attributes(header, entry.record));
  json.close_array().close_object();
  ++count_;
}

std::string OtlpBatch::take() {
  std::string out = R"({"resourceLogs":[)";
  for (auto& [node, records] : nodes_) {
    if (out.back() != '[') out += ',';
    JsonWriter resource;
    resource.open_array();
    append_otlp(resource,
                {{.name = "service.name", .value = std::string("meridian")},
                 {.name = "service.instance.id", .value = node}});
    resource.close_array();
    records.close_array();
    out += fmt::format(R"({{"resource":{{"attributes":{}}},"scopeLogs":[{{"scope":)"
                       R"({{"name":"meridian.trail"}},"logRecords":{}}}]}})",
                       resource.take(),
                       records.take());
  }
  out += "]}";
  nodes_.clear();
  count_ = 0;
  return out;
}

}  // namespace meridian::trail
