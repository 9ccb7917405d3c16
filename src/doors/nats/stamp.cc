#include "doors/nats/stamp.h"

#include "base/escape.h"
#include "wire/nats/headers.h"

#include <fmt/format.h>
#include <optional>

namespace meridian {
namespace {

constexpr std::string_view stamp_name = "Meridian-Identity: ";
constexpr std::string_view message_id = "Nats-Msg-Id";
constexpr std::string_view empty_block = "NATS/1.0\r\n\r\n";

// A MAC's place: 32 bytes are 43 characters of base64url.
constexpr std::string_view mac_placeholder = ";mac=0000000000000000000000000000000000000000000";
constexpr std::size_t identity_size_max = 768;  // Leaves room for the id of a message.

void append_encoded(std::string& out, std::string_view text) {
  constexpr std::string_view kept = "-._~:/@+|";
  constexpr std::string_view digits = "0123456789ABCDEF";
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       kept.contains(c);
    if (plain) {
      out += c;
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    out += '%';
    out += digits[byte >> 4];
    out += digits[byte & 0xf];
  }
}

// Names that Meridian alone sets, also as readers might see them that take _ for -.
bool is_ours(std::string_view name) noexcept {
  constexpr std::string_view beginning = "meridian";
  return nats::name_begins_with(name, beginning) &&
         (name.size() == beginning.size() || name[beginning.size()] == '-' ||
          name[beginning.size()] == '_' || name[beginning.size()] == ' ');
}

}  // namespace

Result<NatsStamp> NatsStamp::make(const Principal& principal,
                                  RequestId request,
                                  const Secret& mac_key) {
  NatsStamp stamp;
  if (!mac_key.empty()) stamp.mac_.emplace(mac_key);
  stamp.identity_ = std::string(stamp_name) + "iss=";
  append_encoded(stamp.identity_, principal.issuer);
  stamp.identity_ += ";sub=";
  append_encoded(stamp.identity_, principal.subject);
  stamp.identity_ += ";role=" + principal.role_name + ";req=";
  if (stamp.identity_.size() > identity_size_max) {
    return fail(Errc::denied, "the subject is too long for the header that carries it");
  }
  stamp.request_ = request.to_hex();
  stamp.plain_ = fmt::format(
      "{}{}{}\r\n{}", nats::headers_begin, stamp.identity_, stamp.request_, nats::headers_end);
  stamp.message_id_mark_ = principal.role_name + ":";
  stamp.role_ = principal.role;
  return stamp;
}

Result<RequestId> NatsStamp::rewrite(const Message& message, std::string& out) const {
  const std::string_view block =
      message.headers.empty() ? std::string_view(empty_block) : message.headers;
  const std::size_t begin = out.size();
  std::string_view first_line = block.substr(0, block.find('\n') + 1);
  out += first_line;
  const std::size_t identity_at = out.size() + stamp_name.size();
  out += identity_;
  const std::size_t request_at = out.size();
  out += request_;
  const std::size_t identity_end = out.size();
  const std::string_view mac_room(mac_ ? mac_placeholder : std::string_view());
  out += mac_room;
  out += "\r\n";
  std::optional<RequestId> request;
  std::string id;  // As it leaves here.
  bool has_id = false;
  std::string_view denial;
  bool dropped = false;  // The line before: what is folded into it goes too.
  const auto done = nats::each_header(block, [&](const nats::HeaderLine& line) {
    dropped = is_ours(line.name) || (line.folded && dropped);
    if (dropped) return;
    if (NatsPermissions::is_control_header(line.name)) {
      const Decision decision = role_->nats->decide_header(line.name);
      if (!decision.allowed) denial = decision.rule;
    }
    if (nats::equal_names(line.name, "traceparent")) request = parse_traceparent(line.value);
    if (!nats::equal_names(line.name, message_id)) {
      out += line.raw;
      return;
    }
    if (has_id) denial = "a second Nats-Msg-Id";
    has_id = true;
    if (line.value.empty()) return;  // To the server it is none.
    // Ids are compared across a whole stream: one role's must not suppress another's.
    id = message_id_mark_;
    id += line.value;
    out += message_id;
    out += ": ";
    out += id;
    out += "\r\n";
  });
  if (done && denial.empty()) {
    if (request) out.replace(request_at, request_.size(), request->to_hex());
    out += nats::headers_end;
    if (mac_) {
      const std::string_view identity =
          std::string_view(out).substr(identity_at, identity_end - identity_at);
      const std::string mac = mac_->of({.subject = message.subject,
                                        .message_id = id,
                                        .payload = message.payload,
                                        .identity = identity});
      out.replace(identity_end + mac_room.size() - mac.size(), mac.size(), mac);
    }
    return request.value_or(RequestId());
  }
  out.resize(begin);
  if (!done) return std::unexpected(done.error());
  return fail(Errc::denied, std::string(denial));
}

}  // namespace meridian
