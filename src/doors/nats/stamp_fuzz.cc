// Whatever header block a client makes, what leaves is either refused or a well-formed block with
// one header of Meridian's, which is ours and stands first.

#include "base/assert.h"
#include "doors/nats/stamp.h"
#include "wire/nats/headers.h"

#include <cstddef>
#include <cstdint>
#include <string>

namespace {

using namespace meridian;

NatsStamp make_stamp(const Secret& mac_key) {
  NatsConfig config;
  config.headers = {"Nats-Expected-*"};
  auto role = std::make_shared<Role>();
  role->name = "r";
  role->nats = *NatsPermissions::compile("r", config);
  Principal principal;
  principal.issuer = "i";
  principal.subject = "s";
  principal.role_name = "r";
  principal.role = std::move(role);
  return *NatsStamp::make(principal, RequestId({1, 2, 3}), mac_key);
}

// What a careless reader would take for the name: white space and separators do not count.
bool looks_like_ours(std::string_view name) {
  return nats::name_begins_with(name, "meridian-") || nats::name_begins_with(name, "meridian_");
}

// The id as it leaves is the last one's: the MAC says the same of it.
void check_mac(const NatsStamp::Message& message, std::string_view made, const StampMac& mac) {
  std::string_view stamp;
  std::string_view id;
  const auto read = nats::each_header(made, [&](const nats::HeaderLine& line) {
    if (nats::equal_names(line.name, "Meridian-Identity")) stamp = line.value;
    if (nats::equal_names(line.name, "Nats-Msg-Id") && !line.value.empty()) id = line.value;
  });
  MERIDIAN_ASSERT(read.has_value());
  const auto stamped = StampMac::split(stamp);
  MERIDIAN_ASSERT(mac.verify({.subject = message.subject,
                              .message_id = id,
                              .payload = message.payload,
                              .identity = stamped.identity},
                             stamped.mac));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const NatsStamp plain_stamp = make_stamp({});
  static const Secret key(std::string(32, 'k'));
  static const NatsStamp signing_stamp = make_stamp(key);
  static const StampMac mac(key);
  const std::string_view block(reinterpret_cast<const char*>(data), size);
  const NatsStamp::Message message{.subject = "a.b", .headers = block, .payload = "p"};
  std::string out = "before";
  const auto done = plain_stamp.rewrite(message, out);
  std::string signed_out;
  const auto signed_done = signing_stamp.rewrite(message, signed_out);
  MERIDIAN_ASSERT(done.has_value() == signed_done.has_value());
  if (signed_done) check_mac(message, signed_out, mac);
  MERIDIAN_ASSERT(out.starts_with("before"));
  if (!done) {
    MERIDIAN_ASSERT(out == "before");
    return 0;
  }
  const std::string_view made = std::string_view(out).substr(6);
  std::size_t index = 0;
  const auto read = nats::each_header(made, [&](const nats::HeaderLine& line) {
    const bool ours = line.raw.starts_with("Meridian-Identity: iss=i;sub=s;role=r;req=");
    MERIDIAN_ASSERT(ours == (index == 0) && looks_like_ours(line.name) == ours);
    MERIDIAN_ASSERT(!NatsPermissions::is_control_header(line.name) ||
                    nats::name_begins_with(line.name, "Nats-Expected-"));
    ++index;
  });
  MERIDIAN_ASSERT(read.has_value() && index > 0);
  return 0;
}
