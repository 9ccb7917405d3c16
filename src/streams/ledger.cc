#include "streams/ledger.h"

#include "base/number.h"

#include <cstdint>

namespace meridian {
namespace {

void append(std::string& out, std::uint64_t value) {
  while (value >= 0x80) {
    out += static_cast<char>(value | 0x80);
    value >>= 7;
  }
  out += static_cast<char>(value);
}

// Small numbers of either sign are few bytes.
void append_signed(std::string& out, std::int64_t value) {
  append(out, (static_cast<std::uint64_t>(value) << 1) ^ static_cast<std::uint64_t>(value >> 63));
}

bool take(std::string_view& bytes, std::uint64_t& value) {
  value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    if (bytes.empty()) return false;
    const auto byte = static_cast<unsigned char>(bytes.front());
    bytes.remove_prefix(1);
    value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80) return true;
  }
  return false;
}

std::int64_t to_signed(std::uint64_t value) {
  return static_cast<std::int64_t>((value >> 1) ^ (~(value & 1) + 1));
}

}  // namespace

std::string encode_places(std::span<const StreamPlace> places) {
  std::string bytes;
  StreamPlace last;
  for (const StreamPlace& place : places) {
    // Differences wrap around; nothing is lost by that.
    append_signed(bytes, static_cast<std::int64_t>(place.sequence - last.sequence));
    append_signed(bytes,
                  static_cast<std::int64_t>(static_cast<std::uint64_t>(place.time) -
                                            static_cast<std::uint64_t>(last.time)));
    last = place;
  }
  return bytes;
}

Result<std::vector<StreamPlace>> decode_places(std::string_view bytes) {
  std::vector<StreamPlace> places;
  StreamPlace last;
  while (!bytes.empty()) {
    std::uint64_t sequence = 0;
    std::uint64_t time = 0;
    if (!take(bytes, sequence) || !take(bytes, time)) {
      return fail(Errc::invalid, "a row of the ledger ends inside a number");
    }
    last.sequence += static_cast<std::uint64_t>(to_signed(sequence));
    last.time = static_cast<std::int64_t>(static_cast<std::uint64_t>(last.time) +
                                          static_cast<std::uint64_t>(to_signed(time)));
    places.push_back(last);
  }
  return places;
}

std::string unhex(std::string_view digits) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < digits.size(); i += 2)
    bytes += static_cast<char>(parse_number<std::uint8_t>(digits.substr(i, 2), 16).value_or(0));
  return bytes;
}

}  // namespace meridian
