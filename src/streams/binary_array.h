#pragma once
// An array in PostgreSQL's binary format (array_recv), built element by element.

#include "wire/postgres/bytes.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace meridian {

namespace oid {
inline constexpr std::uint32_t bytea = 17;
inline constexpr std::uint32_t int8 = 20;
inline constexpr std::uint32_t int4 = 23;
inline constexpr std::uint32_t text = 25;
inline constexpr std::uint32_t json = 114;
inline constexpr std::uint32_t uuid = 2950;
inline constexpr std::uint32_t jsonb = 3802;
}  // namespace oid

class BinaryArray {
 public:
  explicit BinaryArray(std::uint32_t type) { begin(type); }

  void add(std::string_view value) {
    put(static_cast<std::int32_t>(value.size()));
    bytes_ += value;
    ++count_;
  }
  void add_null() {
    put(std::int32_t{-1});
    has_null_ = true;
    ++count_;
  }
  void add_or_null(const std::optional<std::string_view>& value) {
    value ? add(*value) : add_null();
  }
  void add(std::int64_t value) {
    put(std::int32_t{8});
    put(value);
    ++count_;
  }

  void add(std::int32_t value) {
    put(std::int32_t{4});
    put(value);
    ++count_;
  }

  // The whole array; good until the next add().
  std::string_view bytes() {
    if (count_ == 0) {
      // No dimensions.
      bytes_.resize(12);
    } else {
      postgres::store_big_endian(bytes_.data() + 12, count_);
    }
    postgres::store_big_endian(bytes_.data(), std::int32_t{count_ == 0 ? 0 : 1});
    postgres::store_big_endian(bytes_.data() + 4, std::int32_t{has_null_ ? 1 : 0});
    return bytes_;
  }
  std::int32_t count() const noexcept { return count_; }

 private:
  void begin(std::uint32_t type) {
    put(std::int32_t{1});
    put(std::int32_t{0});
    put(static_cast<std::int32_t>(type));
    put(std::int32_t{0});
    put(std::int32_t{1});  // The lower bound.
  }
  template <class T>
  void put(T value) {
    const std::size_t at = bytes_.size();
    bytes_.resize(at + sizeof value);
    postgres::store_big_endian(bytes_.data() + at, value);
  }

  std::string bytes_;
  std::int32_t count_ = 0;
  bool has_null_ = false;
};

inline std::string to_binary(std::int64_t value) {
  std::string bytes(sizeof value, '\0');
  postgres::store_big_endian(bytes.data(), value);
  return bytes;
}

}  // namespace meridian
