#include "streams/producer.h"

#include "base/number.h"
#include "wire/nats/headers.h"

#include <optional>

namespace meridian {
namespace {

constexpr std::string_view stamp_name = "Meridian-Identity";

bool decode(std::string_view text, std::string& out) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    const auto byte = parse_number<std::uint8_t>(text.substr(i + 1, 2), 16);
    if (!byte || i + 2 >= text.size()) return false;
    out += static_cast<char>(*byte);
    i += 2;
  }
  return true;
}

}  // namespace

Result<Producer> parse_producer(const StampedMessage& message, const StampMac* mac) {
  const std::string_view headers = message.headers;
  std::optional<std::string_view> stamp;
  bool twice = false;
  if (!headers.empty()) {
    auto read = nats::each_header(headers, [&](const nats::HeaderLine& line) {
      if (!nats::equal_names(line.name, stamp_name)) return;
      twice = twice || stamp || line.folded;
      stamp = line.value;
    });
    if (!read) {
      return fail(Errc::unauthenticated, "its headers are not well-formed, so no door has seen it");
    }
  }
  if (!stamp) return fail(Errc::unauthenticated, "it carries no verified identity");
  if (twice) return fail(Errc::unauthenticated, "it carries two identities");
  const auto [identity, seal] = StampMac::split(*stamp);
  if (mac && seal.empty()) {
    return fail(Errc::unauthenticated,
                "its identity has no MAC, and nats.stamp_key_file wants one: it came by no door "
                "that has the key");
  }
  const StampMac::Parts parts{.subject = message.subject,
                              .message_id = message.message_id,
                              .payload = message.payload,
                              .identity = identity};
  if (mac && !mac->verify(parts, seal)) {
    return fail(Errc::unauthenticated,
                "its identity has the MAC of another message or of another nats.stamp_key_file: "
                "it was forged or changed on its way");
  }
  Producer producer;
  std::string_view rest = identity;
  while (!rest.empty()) {
    const std::string_view part = rest.substr(0, rest.find(';'));
    rest.remove_prefix(std::min(part.size() + 1, rest.size()));
    const std::size_t equals = part.find('=');
    const std::string_view name = part.substr(0, equals);
    std::string* const field = name == "iss"    ? &producer.issuer
                               : name == "sub"  ? &producer.subject
                               : name == "role" ? &producer.role
                               : name == "req"  ? &producer.request
                                                : nullptr;
    if (!field || equals == std::string_view::npos || !field->empty() ||
        !decode(part.substr(equals + 1), *field)) {
      return fail(Errc::unauthenticated, "its identity is not as a door writes it");
    }
  }
  if (producer.issuer.empty() || producer.subject.empty() || producer.role.empty()) {
    return fail(Errc::unauthenticated, "its identity is not complete");
  }
  return producer;
}

}  // namespace meridian
