#pragma once
// The bodies of PostgreSQL messages, read and written: big-endian integers and NUL-terminated text
// (protocol documentation, "Message Data Types"). Readers hand out views of the bytes they were
// given.

#include "base/assert.h"
#include "base/result.h"

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>

namespace meridian::postgres {

// Lengths travel as signed 32-bit numbers.
inline constexpr std::uint32_t length_limit = 0x7fffffff;

// Requires sizeof(T) bytes at `from`.
template <std::integral T>
T load_big_endian(const char* from) noexcept {
  std::make_unsigned_t<T> value;
  std::memcpy(&value, from, sizeof value);
  if constexpr (std::endian::native == std::endian::little) value = std::byteswap(value);
  return static_cast<T>(value);
}

template <std::integral T>
void store_big_endian(char* into, T value) noexcept {
  auto bits = static_cast<std::make_unsigned_t<T>>(value);
  if constexpr (std::endian::native == std::endian::little) bits = std::byteswap(bits);
  std::memcpy(into, &bits, sizeof bits);
}

// Reads one body from front to back. The first thing that does not fit is remembered, and from then
// on everything reads as zero or empty, so a parser reads its fields and asks once at the end.
class BodyReader {
 public:
  explicit BodyReader(std::string_view body) noexcept : rest_(body) {}

  template <std::integral T>
  T number() noexcept {
    if (rest_.size() < sizeof(T)) {
      fail("it ends inside a number");
      return T{};
    }
    const T value = load_big_endian<T>(rest_.data());
    rest_.remove_prefix(sizeof(T));
    return value;
  }

  // Up to the next NUL, which is taken and not part of the result.
  std::string_view text() noexcept {
    const std::size_t end = rest_.find('\0');
    if (end == std::string_view::npos) {
      fail("a text in it has no end");
      return {};
    }
    const std::string_view text = rest_.substr(0, end);
    rest_.remove_prefix(end + 1);
    return text;
  }

  std::string_view bytes(std::size_t size) noexcept {
    if (size > rest_.size()) {
      fail("it is shorter than a length inside it says");
      return {};
    }
    const std::string_view bytes = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return bytes;
  }

  // All that is left.
  std::string_view take_rest() noexcept { return bytes(rest_.size()); }

  std::string_view rest() const noexcept { return rest_; }
  bool failed() const noexcept { return problem_ != nullptr; }

  // The first reason is kept. `problem` is a literal.
  void fail(const char* problem) noexcept {
    if (!problem_) problem_ = problem;
    rest_ = {};
  }

  // Everything fitted and nothing is left over.
  bool complete() const noexcept { return !problem_ && rest_.empty(); }
  Result<void> finish(std::string_view message) const {
    if (complete()) [[likely]]
      return {};
    return refusal(message);
  }

  // Why complete() is false.
  std::unexpected<Error> refusal(std::string_view message) const {
    return meridian::fail(
        Errc::invalid,
        std::string(message) + ": " +
            (problem_ ? problem_ : std::to_string(rest_.size()) + " bytes follow its last field"));
  }

 private:
  std::string_view rest_;
  const char* problem_ = nullptr;
};

// `count` big-endian integers inside a body.
template <std::integral T>
class BigEndianArray {
 public:
  BigEndianArray() = default;
  // Takes them from the reader, which fails when they do not fit.
  BigEndianArray(BodyReader& reader, std::size_t count) noexcept
      : raw_(reader.bytes(count * sizeof(T))) {}

  std::size_t size() const noexcept { return raw_.size() / sizeof(T); }
  bool empty() const noexcept { return raw_.empty(); }

  // Requires index < size().
  T operator[](std::size_t index) const noexcept {
    MERIDIAN_ASSERT(index < size());
    return load_big_endian<T>(raw_.data() + index * sizeof(T));
  }

 private:
  std::string_view raw_;
};

// Appends one message to `out`: the type, a place for the length, the body; finish() fills in the
// length. Type 0 is for the packets before authentication, which have none.
class MessageWriter {
 public:
  MessageWriter(std::string& out, char type) : out_(out) {
    if (type != 0) out_ += type;
    start_ = out_.size();
    out_.append(sizeof(std::int32_t), '\0');
  }

  template <std::integral T>
  MessageWriter& number(T value) {
    char bytes[sizeof(T)];
    store_big_endian(bytes, value);
    out_.append(bytes, sizeof bytes);
    return *this;
  }
  MessageWriter& letter(char value) {
    out_ += value;
    return *this;
  }
  // Requires no NUL in `text`: it would end early and smuggle the rest in as further fields.
  MessageWriter& text(std::string_view text) {
    MERIDIAN_ASSERT(!text.contains('\0'));
    out_ += text;
    out_ += '\0';
    return *this;
  }
  MessageWriter& bytes(std::string_view bytes) {
    out_ += bytes;
    return *this;
  }
  // A length and the bytes, as values of Bind and DataRow are written.
  MessageWriter& counted(std::string_view bytes) {
    MERIDIAN_ASSERT(bytes.size() <= length_limit);
    return number(static_cast<std::int32_t>(bytes.size())).bytes(bytes);
  }

  // `to_follow` bytes belong to the message too and are sent behind it. Requires a message of less
  // than 2 GiB.
  void finish(std::uint64_t to_follow = 0) {
    const std::uint64_t size = out_.size() - start_;
    MERIDIAN_ASSERT(size <= length_limit && to_follow <= length_limit - size);
    store_big_endian(out_.data() + start_, static_cast<std::int32_t>(size + to_follow));
  }

 private:
  std::string& out_;
  std::size_t start_ = 0;
};

}  // namespace meridian::postgres
