#pragma once
// What the framer's two fuzz targets check: the messages found do not depend on how the bytes were
// split, and large ones may be passed on in parts.

#include "base/assert.h"
#include "wire/postgres/framing.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace meridian::postgres {

struct Found {
  std::uint64_t at = 0;
  char type = 0;
  std::uint64_t size = 0;  // 0: refused here.
  friend bool operator==(const Found&, const Found&) = default;
};

// From the whole buffer at once.
inline std::vector<Found> find_at_once(const FramingRules& rules, std::string_view bytes) {
  const Framer framer(rules);
  std::vector<Found> found;
  std::uint64_t at = 0;
  for (;;) {
    const std::string_view rest = bytes.substr(at);
    const Frame frame = framer.next(rest);
    if (frame.status == Frame::Status::refused) {
      MERIDIAN_ASSERT(!framer.refusal(rest).detail().empty());
      found.push_back({at, frame.type, 0});
      return found;
    }
    if (frame.status == Frame::Status::partial) {
      MERIDIAN_ASSERT(frame.missing > 0);
      if (frame.size > 0) found.push_back({at, frame.type, frame.size});
      return found;
    }
    MERIDIAN_ASSERT(frame.size >= header_bytes && frame.size <= rest.size());
    found.push_back({at, frame.type, frame.size});
    at += frame.size;
  }
}

// As a relay does that reads `step` bytes at a time and passes on what is streamable.
inline std::vector<Found> find_in_steps(const FramingRules& rules,
                                        std::string_view bytes,
                                        std::size_t step) {
  Framer framer(rules);
  std::vector<Found> found;
  std::size_t at = 0;    // Where the unread part of the buffer begins.
  std::size_t read = 0;  // Where it ends.
  for (;;) {
    at += framer.take(read - at);
    if (!framer.passing()) {
      const Frame frame = framer.next(bytes.substr(at, read - at));
      if (frame.status == Frame::Status::refused) {
        found.push_back({at, frame.type, 0});
        return found;
      }
      if (frame.status == Frame::Status::whole) {
        found.push_back({at, frame.type, frame.size});
        at += frame.size;
        continue;
      }
      if (frame.streamable) {
        found.push_back({at, frame.type, frame.size});
        framer.pass(frame, read - at);
        at = read;
      } else if (read == bytes.size() && frame.size > 0) {
        found.push_back({at, frame.type, frame.size});
      }
    }
    if (read == bytes.size()) return found;
    read = std::min(read + step, bytes.size());
  }
}

inline void check_framing(Sender sender, const std::uint8_t* data, std::size_t size) {
  if (size == 0) return;
  const FramingRules rules(sender);
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::size_t step = 1 + data[0] % 32;
  MERIDIAN_ASSERT(find_at_once(rules, bytes) == find_in_steps(rules, bytes, step));
}

}  // namespace meridian::postgres
