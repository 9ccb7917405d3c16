// Bytes of either side do no harm; the operations do not depend on how the bytes were split; what
// is kept between two pieces is bounded; and an operation that is written again is the same one.

#include "base/assert.h"
#include "wire/nats/parser.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace {

using namespace meridian::nats;

constexpr ParserLimits limits{
    .line_size_max = 64, .long_line_size_max = 256, .payload_size_max = 512};

struct Read {
  std::vector<std::string> raw;
  std::vector<std::string> parts;
  std::optional<Fault> fault;

  bool operator==(const Read&) const = default;
};

std::string parts_of(const Operation& operation) {
  std::string text(to_string(operation.kind));
  for (const std::string_view part : {operation.subject,
                                      operation.reply,
                                      operation.queue,
                                      operation.sid,
                                      operation.headers,
                                      operation.payload,
                                      operation.text}) {
    text += '|';
    text += part;
  }
  return text + "|" + std::to_string(operation.max);
}

std::string written(const Operation& operation) {
  std::string out;
  switch (operation.kind) {
    case OperationKind::pub:
    case OperationKind::hpub:
      append_publish(out, operation.subject, operation.reply, operation.headers, operation.payload);
      break;
    case OperationKind::msg:
    case OperationKind::hmsg:
      append_message(out,
                     operation.subject,
                     operation.sid,
                     operation.reply,
                     operation.headers,
                     operation.payload);
      break;
    case OperationKind::sub:
      append_subscribe(out, operation.subject, operation.queue, operation.sid);
      break;
    case OperationKind::unsub:
      append_unsubscribe(out, operation.sid, operation.max);
      break;
    case OperationKind::connect:
    case OperationKind::info:
    case OperationKind::ok:
    case OperationKind::err:
    case OperationKind::ping:
    case OperationKind::pong:
      break;
  }
  return out;
}

Read read(Sender sender, std::string_view bytes, std::size_t piece) {
  Parser parser(sender, limits);
  Read result;
  while (!bytes.empty()) {
    const std::string part(bytes.substr(0, piece));
    bytes.remove_prefix(part.size());
    std::string_view input = part;
    for (;;) {
      const auto operation = parser.next(input);
      if (!operation) {
        result.fault = operation.error();
        return result;
      }
      if (!*operation) break;
      result.raw.emplace_back((*operation)->raw);
      result.parts.push_back(parts_of(**operation));
    }
    MERIDIAN_ASSERT(input.empty());
    MERIDIAN_ASSERT(parser.pending_size() <=
                    limits.long_line_size_max + limits.payload_size_max + 4);
  }
  return result;
}

void check(Sender sender, std::string_view bytes) {
  const Read whole = read(sender, bytes, bytes.size() + 1);
  for (const std::size_t piece : {1uz, 2uz, 3uz, 7uz, 64uz})
    MERIDIAN_ASSERT(read(sender, bytes, piece) == whole);
  Parser parser(sender, limits);
  std::string_view input = bytes;
  for (;;) {
    const auto operation = parser.next(input);
    if (!operation || !*operation) return;
    const std::string again = written(**operation);
    // A header operation without a byte of headers is written as a plain one.
    const bool has_headers =
        (*operation)->kind == OperationKind::hpub || (*operation)->kind == OperationKind::hmsg;
    if (again.empty() || (has_headers && (*operation)->headers.empty())) continue;
    Parser second(sender,
                  {.line_size_max = 256, .long_line_size_max = 256, .payload_size_max = 512});
    std::string_view rest = again;
    const auto reread = second.next(rest);
    MERIDIAN_ASSERT(reread && *reread && rest.empty());
    MERIDIAN_ASSERT(parts_of(**reread) == parts_of(**operation));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), std::min(size, 4'096uz));
  check(Sender::client, bytes);
  check(Sender::server, bytes);
  return 0;
}
