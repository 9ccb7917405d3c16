// Frames of anybody do no harm; what comes out does not depend on how the bytes were split, is
// never more than went in, and every answer is one whole control frame.

#include "base/assert.h"
#include "wire/websocket/frame.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

namespace {

using namespace meridian::websocket;

struct Read {
  std::string payload;
  bool refused = false;
  bool closed = false;

  bool operator==(const Read&) const = default;
};

Read read(std::string_view bytes, std::size_t piece) {
  Decoder decoder;
  Read result;
  while (!bytes.empty() && !decoder.closed()) {
    std::string part(bytes.substr(0, piece));
    bytes.remove_prefix(part.size());
    const auto size = decoder.unwrap(part);
    if (!size) {
      result.refused = true;
      // What came in the same piece before is lost with the connection.
      result.payload.clear();
      return result;
    }
    MERIDIAN_ASSERT(*size <= part.size());
    result.payload += part.substr(0, *size);
    if (decoder.has_answer()) {
      const std::string answer = decoder.take_answer();
      MERIDIAN_ASSERT(answer.size() >= 2 && answer.size() <= 127);
      MERIDIAN_ASSERT(static_cast<std::size_t>(answer[1]) == answer.size() - 2);
    }
  }
  result.closed = decoder.closed();
  return result;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), std::min(size, 8'192uz));
  const Read whole = read(bytes, bytes.size() + 1);
  for (const std::size_t piece : {1uz, 2uz, 3uz, 7uz, 64uz})
    MERIDIAN_ASSERT(read(bytes, piece) == whole);
  return 0;
}
