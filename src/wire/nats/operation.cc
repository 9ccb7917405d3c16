#include "wire/nats/operation.h"

#include <charconv>

namespace meridian::nats {
namespace {

constexpr std::string_view end_of_line = "\r\n";

void append_number(std::string& out, std::uint64_t number) {
  char digits[20];
  const auto [end, error] = std::to_chars(digits, digits + sizeof digits, number);
  (void)error;  // 20 digits hold every number.
  out.append(digits, end);
}

// ` 12 34`, or ` 34` where there are no headers; then those.
void append_sizes_and_headers(std::string& out,
                              std::string_view headers,
                              std::size_t payload_size) {
  if (!headers.empty()) {
    out += ' ';
    append_number(out, headers.size());
  }
  out += ' ';
  append_number(out, headers.size() + payload_size);
  out += end_of_line;
  out += headers;
}

}  // namespace

std::string_view to_string(OperationKind kind) noexcept {
  switch (kind) {
    case OperationKind::connect:
      return "CONNECT";
    case OperationKind::pub:
      return "PUB";
    case OperationKind::hpub:
      return "HPUB";
    case OperationKind::sub:
      return "SUB";
    case OperationKind::unsub:
      return "UNSUB";
    case OperationKind::info:
      return "INFO";
    case OperationKind::msg:
      return "MSG";
    case OperationKind::hmsg:
      return "HMSG";
    case OperationKind::ok:
      return "+OK";
    case OperationKind::err:
      return "-ERR";
    case OperationKind::ping:
      return "PING";
    case OperationKind::pong:
      return "PONG";
  }
  return "";
}

void append_publish_begin(std::string& out,
                          std::string_view subject,
                          std::string_view reply,
                          std::string_view headers,
                          std::size_t payload_size) {
  out += headers.empty() ? "PUB " : "HPUB ";
  out += subject;
  if (!reply.empty()) {
    out += ' ';
    out += reply;
  }
  append_sizes_and_headers(out, headers, payload_size);
}

void append_publish(std::string& out,
                    std::string_view subject,
                    std::string_view reply,
                    std::string_view headers,
                    std::string_view payload) {
  append_publish_begin(out, subject, reply, headers, payload.size());
  out += payload;
  out += end_of_line;
}

void append_message(std::string& out,
                    std::string_view subject,
                    std::string_view sid,
                    std::string_view reply,
                    std::string_view headers,
                    std::string_view payload) {
  out += headers.empty() ? "MSG " : "HMSG ";
  out += subject;
  out += ' ';
  out += sid;
  if (!reply.empty()) {
    out += ' ';
    out += reply;
  }
  append_sizes_and_headers(out, headers, payload.size());
  out += payload;
  out += end_of_line;
}

void append_subscribe(std::string& out,
                      std::string_view subject,
                      std::string_view queue,
                      std::string_view sid) {
  out += "SUB ";
  out += subject;
  out += ' ';
  if (!queue.empty()) {
    out += queue;
    out += ' ';
  }
  out += sid;
  out += end_of_line;
}

void append_unsubscribe(std::string& out, std::string_view sid, std::uint64_t max) {
  out += "UNSUB ";
  out += sid;
  if (max != 0) {
    out += ' ';
    append_number(out, max);
  }
  out += end_of_line;
}

void append_error(std::string& out, std::string_view text) {
  out += "-ERR '";
  out += text;
  out += "'\r\n";
}

}  // namespace meridian::nats
