#pragma once
// The fields of a record as bytes and back.
//
// A field is a key byte (number * 4 + wire type) and a value. Wire types:
//
//   0 number   base-128 groups of 7 bits, low ones first, the top bit set on all but the last
//   1 fixed    8 bytes, little-endian
//   2 bytes    a size in base 128, then that many bytes; an item of a list is one such field
//   3 cut      the same, for a text of which only the beginning was kept
//
// A key byte of zero ends the fields; what follows is padding.

#include "base/assert.h"
#include "base/ids.h"
#include "base/result.h"
#include "gate/trail/record.h"

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <type_traits>

namespace meridian::trail {

static_assert(std::endian::native == std::endian::little, "the file format is little-endian");

template <class T>
T load(const std::uint8_t* from) noexcept {
  T value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}
template <class T>
void store(std::uint8_t* to, T value) noexcept {
  std::memcpy(to, &value, sizeof(value));
}

// An instant as files carry it, in microseconds since 1970. What no clock gave, before 1970 or
// after the year 9999, becomes the nearest that can be printed.
WallTime to_wall_time(std::uint64_t micros) noexcept;

enum class WireType : std::uint8_t { number, fixed, bytes, cut };

inline constexpr unsigned field_number_max = 63;

// Writes fields one after the other: `record.fields(writer)`. What they may need at most is known
// (fields_size_max), so running out of room is a bug.
class FieldWriter {
 public:
  FieldWriter(std::uint8_t* begin, std::uint8_t* end) noexcept : out_(begin), end_(end) {}

  template <class T>
  void operator()(unsigned number, std::string_view /*name*/, const T& value) noexcept {
    put(number, value);
  }

  // One item of the list that has this number.
  template <class T>
  void item(unsigned number, const T& value) noexcept {
    reserve(1 + item_size_bytes);
    key(number, WireType::bytes);
    std::uint8_t* const size_at = out_;
    out_ += item_size_bytes;
    value.fields(*this);
    const auto size = static_cast<std::size_t>(out_ - size_at) - item_size_bytes;
    MERIDIAN_ASSERT(size < 1u << 14);
    size_at[0] = static_cast<std::uint8_t>(size | 0x80);
    size_at[1] = static_cast<std::uint8_t>(size >> 7);
  }

  std::uint8_t* position() const noexcept { return out_; }

 private:
  static constexpr std::size_t number_bytes_max = 10;
  static constexpr std::size_t item_size_bytes = 2;  // Of a list's item, written last, always two.

  void reserve(std::size_t size) const noexcept {
    MERIDIAN_ASSERT(static_cast<std::size_t>(end_ - out_) >= size);
  }
  void key(unsigned number, WireType type) noexcept {
    *out_++ = static_cast<std::uint8_t>(number << 2 | static_cast<unsigned>(type));
  }
  void base_128(std::uint64_t value) noexcept {
    while (value >= 0x80) {
      *out_++ = static_cast<std::uint8_t>(value | 0x80);
      value >>= 7;
    }
    *out_++ = static_cast<std::uint8_t>(value);
  }
  void put_bytes(unsigned number, WireType type, const void* data, std::size_t size) noexcept {
    reserve(1 + number_bytes_max + size);
    key(number, type);
    base_128(size);
    std::memcpy(out_, data, size);
    out_ += size;
  }
  void put_fixed(unsigned number, std::uint64_t value) noexcept {
    if (value == 0) return;
    reserve(1 + sizeof(value));
    key(number, WireType::fixed);
    store(out_, value);
    out_ += sizeof(value);
  }

  void put(unsigned number, std::uint64_t value) noexcept {
    if (value == 0) return;
    reserve(1 + number_bytes_max);
    key(number, WireType::number);
    base_128(value);
  }
  void put(unsigned number, std::uint32_t value) noexcept { put(number, std::uint64_t{value}); }
  void put(unsigned number, std::uint16_t value) noexcept { put(number, std::uint64_t{value}); }
  void put(unsigned number, bool value) noexcept { put(number, std::uint64_t{value}); }
  void put(unsigned number, PreviousEnd value) noexcept {
    put(number, static_cast<std::uint64_t>(value));
  }
  void put(unsigned number, VisitId value) noexcept { put(number, value.value()); }
  void put(unsigned number, Duration value) noexcept {  // As microseconds; never negative.
    const std::int64_t micros = value.count() / 1'000;
    put(number, micros < 0 ? 0 : static_cast<std::uint64_t>(micros));
  }
  void put(unsigned number, WallTime value) noexcept {
    put_fixed(number, static_cast<std::uint64_t>(value.time_since_epoch().count()));
  }
  void put(unsigned number, Fingerprint value) noexcept { put_fixed(number, value.value()); }
  void put(unsigned number, Lsn value) noexcept { put_fixed(number, value.value()); }
  void put(unsigned number, const Sqlstate& value) noexcept {
    if (value.success()) return;
    put_bytes(number, WireType::bytes, value.code.data(), value.code.size());
  }
  template <std::size_t Size>
  void put(unsigned number, const std::array<std::uint8_t, Size>& value) noexcept {
    put_bytes(number, WireType::bytes, value.data(), Size);
  }
  template <std::size_t SizeMax>
  void put(unsigned number, const BoundedText<SizeMax>& value) noexcept {
    if (value.empty()) return;
    put_bytes(number,
              value.cut ? WireType::cut : WireType::bytes,
              value.bytes.data(),
              value.bytes.size());
  }
  template <class T, std::size_t CountMax>
  void put(unsigned number, const BoundedList<T, CountMax>& list) noexcept {
    for (const T& each : list) {
      item(number, each);
    }
  }

  std::uint8_t* out_;
  std::uint8_t* end_;
};

// One field as it lies in a file.
struct Field {
  unsigned number = 0;
  WireType type = WireType::number;
  std::uint64_t value = 0;  // number and fixed.
  Bytes bytes;              // bytes and cut.
};

// Takes fields off the front of some bytes, which it trusts in nothing.
class FieldSplitter {
 public:
  explicit FieldSplitter(Bytes bytes) noexcept : rest_(bytes) {}

  // False at the end, and when the bytes are no fields: then broken() is true.
  bool next(Field& field) noexcept;
  bool broken() const noexcept { return broken_; }

 private:
  bool base_128(std::uint64_t& value) noexcept;
  bool fail() noexcept {
    broken_ = true;
    return false;
  }

  Bytes rest_;
  bool broken_ = false;
};

namespace detail {

inline bool assign(std::uint64_t& member, const Field& field) noexcept {
  member = field.value;
  return field.type == WireType::number;
}
template <class Small>
  requires(std::is_same_v<Small, std::uint32_t> || std::is_same_v<Small, std::uint16_t>)
bool assign(Small& member, const Field& field) noexcept {
  member = static_cast<Small>(field.value);
  return field.type == WireType::number && member == field.value;
}
inline bool assign(bool& member, const Field& field) noexcept {
  member = field.value != 0;
  return field.type == WireType::number;
}
inline bool assign(PreviousEnd& member, const Field& field) noexcept {
  member = static_cast<PreviousEnd>(field.value);
  return field.type == WireType::number && field.value <= 255;
}
inline bool assign(VisitId& member, const Field& field) noexcept {
  member = VisitId(field.value);
  return field.type == WireType::number;
}
inline bool assign(Fingerprint& member, const Field& field) noexcept {
  member = Fingerprint(field.value);
  return field.type == WireType::fixed;
}
inline bool assign(Lsn& member, const Field& field) noexcept {
  member = Lsn(field.value);
  return field.type == WireType::fixed;
}
bool assign(Duration& member, const Field& field) noexcept;
bool assign(WallTime& member, const Field& field) noexcept;
bool assign(Sqlstate& member, const Field& field) noexcept;

template <std::size_t Size>
bool assign(std::array<std::uint8_t, Size>& member, const Field& field) noexcept {
  if (field.type != WireType::bytes || field.bytes.size() != Size) return false;
  std::memcpy(member.data(), field.bytes.data(), Size);
  return true;
}
template <std::size_t SizeMax>
bool assign(BoundedText<SizeMax>& member, const Field& field) noexcept {
  if (field.type != WireType::bytes && field.type != WireType::cut) return false;
  member = std::string_view(reinterpret_cast<const char*>(field.bytes.data()), field.bytes.size());
  member.cut = member.cut || field.type == WireType::cut;
  return true;
}

template <class Record>
bool decode_into(Record& record, Bytes bytes) noexcept;

template <class T, std::size_t CountMax>
bool assign(BoundedList<T, CountMax>& list, const Field& field) noexcept {
  T item;
  if (field.type != WireType::bytes || !decode_into(item, field.bytes)) return false;
  list.push_back(item);  // Beyond its bound the list says that it is cut.
  return true;
}

template <class Record>
bool decode_into(Record& record, Bytes bytes) noexcept {
  FieldSplitter splitter(bytes);
  Field field;
  bool good = true;
  while (splitter.next(field)) {
    record.fields([&](unsigned number, std::string_view /*name*/, auto& member) {
      if (number == field.number) good = assign(member, field) && good;
    });
  }
  return good && !splitter.broken();
}

}  // namespace detail

// A record's fields. Texts are views into `bytes`. Errors: invalid.
template <class Record>
Result<Record> decode(Bytes bytes) {
  Record record;
  if (!detail::decode_into(record, bytes)) {
    return fail(Errc::invalid,
                "the fields of the " + std::string(to_string(Record::kind)) +
                    " record are not what its kind says");
  }
  return record;
}

}  // namespace meridian::trail
