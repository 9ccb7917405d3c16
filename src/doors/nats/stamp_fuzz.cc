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

const NatsStamp& stamp() {
  static const NatsStamp made = [] {
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
    return *NatsStamp::make(principal, RequestId({1, 2, 3}));
  }();
  return made;
}

// What a careless reader would take for the name: white space and separators do not count.
bool looks_like_ours(std::string_view name) {
  return nats::name_begins_with(name, "meridian-") || nats::name_begins_with(name, "meridian_");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view block(reinterpret_cast<const char*>(data), size);
  std::string out = "before";
  const auto done = stamp().rewrite(block, out);
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
