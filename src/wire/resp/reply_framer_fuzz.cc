// Any bytes a server may send: where replies end does not depend on how the bytes were split, no
// byte is lost or doubled, and what can be read as one reply is framed as one.

#include "base/assert.h"
#include "wire/resp/reply_framer.h"
#include "wire/resp/value.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using namespace meridian;

struct Framed {
  std::vector<std::string> replies;
  std::string unfinished;
  bool failed = false;
  friend bool operator==(const Framed&, const Framed&) = default;
};

Framed frame(std::string_view bytes, std::size_t piece_size) {
  resp::ReplyFramer framer;
  Framed framed;
  while (!bytes.empty()) {
    std::string_view piece = bytes.substr(0, piece_size);
    bytes.remove_prefix(piece.size());
    while (!piece.empty()) {
      const std::string_view before = piece;
      const auto part = framer.next(piece);
      if (!part) {
        framed.failed = true;
        framed.unfinished.clear();
        return framed;
      }
      MERIDIAN_ASSERT(!part->bytes.empty() && part->bytes.data() == before.data());
      MERIDIAN_ASSERT(part->bytes.size() + piece.size() == before.size());
      MERIDIAN_ASSERT(part->last || piece.empty());
      framed.unfinished += part->bytes;
      if (part->last) framed.replies.push_back(std::exchange(framed.unfinished, {}));
    }
  }
  return framed;
}

}  // namespace

// The first byte says how to split, the rest is what the server sends.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const Framed whole = frame(bytes, std::max<std::size_t>(bytes.size(), 1));
  MERIDIAN_ASSERT(frame(bytes, data[0] % 32 + 1UZ) == whole);
  if (resp::parse_value(bytes)) {
    MERIDIAN_ASSERT(whole.replies.size() == 1 && whole.replies[0] == bytes && !whole.failed);
  }
  for (const std::string& reply : whole.replies)
    (void)resp::parse_value(reply);
  return 0;
}
