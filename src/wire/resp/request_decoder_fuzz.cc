// Any bytes a client may send: the requests, and the error after them, do not depend on how the
// bytes were split (one piece takes the quick path, small pieces take the other); a request means
// the same when it is relayed as it came and when it is written anew.

#include "base/assert.h"
#include "wire/resp/encoder.h"
#include "wire/resp/request_decoder.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace meridian;
using Words = std::vector<std::string>;

// Small, so that the fuzzer comes to them.
constexpr resp::RequestLimits limits{.request_bytes_max = 2'000,
                                     .arguments_max = 20,
                                     .line_bytes_max = 100,
                                     .unauthenticated_arguments_max = 3,
                                     .unauthenticated_argument_bytes_max = 50};

struct Decoded {
  std::vector<Words> requests;
  std::string error;
  friend bool operator==(const Decoded&, const Decoded&) = default;
};

// The one request in `bytes`.
Words decode_one(std::string_view bytes) {
  resp::RequestDecoder decoder;
  decoder.set_authenticated(true);
  const auto request = decoder.next(bytes);
  MERIDIAN_ASSERT(request && *request && bytes.empty());
  return {(*request)->arguments.begin(), (*request)->arguments.end()};
}

void check(const resp::Request& request, const Words& words) {
  MERIDIAN_ASSERT(!words.empty() && words.size() <= limits.arguments_max * 100);
  if (!request.is_inline) MERIDIAN_ASSERT(decode_one(request.bytes) == words);
  std::string written;
  resp::append_request(written, request.arguments);
  MERIDIAN_ASSERT(decode_one(written) == words);
}

Decoded decode(std::string_view bytes, std::size_t piece_size, bool authenticated) {
  resp::RequestDecoder decoder(limits);
  decoder.set_authenticated(authenticated);
  Decoded decoded;
  while (!bytes.empty()) {
    const std::string piece(bytes.substr(0, piece_size));
    bytes.remove_prefix(piece.size());
    std::string_view input = piece;
    for (;;) {
      const auto request = decoder.next(input);
      MERIDIAN_ASSERT(decoder.held_bytes() <= limits.request_bytes_max + limits.line_bytes_max + 4);
      if (!request) {
        decoded.error = request.error().detail();
        return decoded;
      }
      if (!*request) break;
      decoded.requests.emplace_back((*request)->arguments.begin(), (*request)->arguments.end());
      check(**request, decoded.requests.back());
    }
    MERIDIAN_ASSERT(input.empty());
  }
  return decoded;
}

}  // namespace

// The first byte says how to split, the rest is what the client sends.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const bool authenticated = data[0] % 2 == 0;
  const std::size_t piece_size = data[0] / 2 % 32 + 1;
  const Decoded whole = decode(bytes, std::max<std::size_t>(bytes.size(), 1), authenticated);
  MERIDIAN_ASSERT(decode(bytes, piece_size, authenticated) == whole);
  return 0;
}
