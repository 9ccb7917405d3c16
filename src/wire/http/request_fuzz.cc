// Whatever the bytes: what the decoder makes of them does not depend on how they were split, keeps
// the limits, and what it takes can be taken apart further without harm.

#include "base/assert.h"
#include "wire/http/decoder.h"
#include "wire/http/target.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

namespace meridian::http {
namespace {

constexpr RequestLimits limits{
    .line_size_max = 256, .headers_size_max = 512, .headers_count_max = 8, .body_size_max = 256};

// Everything that came out, in one text.
std::string decode(std::string_view bytes, std::size_t piece) {
  RequestDecoder decoder(limits);
  std::string out;
  while (!bytes.empty()) {
    std::string_view part = bytes.substr(0, piece);
    bytes.remove_prefix(part.size());
    while (!part.empty()) {
      const auto taken = decoder.feed(part);
      if (!taken) return out + std::to_string(decoder.refusal_status());
      MERIDIAN_ASSERT(*taken > 0 && *taken <= part.size());
      part.remove_prefix(*taken);
      if (!decoder.complete()) continue;
      const Request request = decoder.take();
      MERIDIAN_ASSERT(request.body.size() <= limits.body_size_max);
      MERIDIAN_ASSERT(request.headers.size() <= limits.headers_count_max);
      MERIDIAN_ASSERT(!(request.header("content-length") && request.header("transfer-encoding")));
      out += request.method + '\n' + request.target + '\n';
      for (const Header& header : request.headers)
        out += header.name + ':' + header.value + '\n';
      out += request.body + (request.keep_alive ? "+" : "-");
      if (const auto target = parse_target(request.target)) {
        MERIDIAN_ASSERT(!target->path().contains("/../") && !target->path().ends_with("/.."));
      }
      (void)parse_parameters(request.body);  // Must not crash.
    }
  }
  return out + (decoder.in_request() ? "..." : "");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::string whole = decode(text, std::max<std::size_t>(size, 1));
  MERIDIAN_ASSERT(decode(text, 1) == whole);
  MERIDIAN_ASSERT(decode(text, 2 + size % 13) == whole);
  return 0;
}

}  // namespace meridian::http
