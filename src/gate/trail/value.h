#pragma once
// The values that fields of a record hold, beside plain numbers. All are trivially copied; texts
// are borrowed, by a writer from its caller and by a reader from its buffer.

#include "base/assert.h"
#include "base/named.h"
#include "base/time.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace meridian::trail {

// Text as a peer sent it, any bytes. Of one longer than `size_max` the beginning is kept and `cut`
// says so.
template <std::size_t SizeMax>
struct BoundedText {
  static constexpr std::size_t size_max = SizeMax;

  constexpr BoundedText() = default;
  constexpr BoundedText(std::string_view text)  // NOLINT: implicit, so that records read as data.
      : bytes(text.substr(0, size_max)), cut(text.size() > size_max) {}
  constexpr BoundedText(const char* text) : BoundedText(std::string_view(text)) {}         // NOLINT
  constexpr BoundedText(const std::string& text) : BoundedText(std::string_view(text)) {}  // NOLINT

  bool empty() const noexcept { return bytes.empty(); }

  std::string_view bytes;
  bool cut = false;
};
using Text = BoundedText<512>;
using ShapeText = BoundedText<4'096>;

// A list inside a record. What does not fit is left out and `cut` says so.
template <class T, std::size_t CountMax>
class BoundedList {
 public:
  using Item = T;
  static constexpr std::size_t count_max = CountMax;

  // False when full; the item is left out.
  bool push_back(const T& item) noexcept {
    if (count_ == count_max) {
      cut_ = true;
      return false;
    }
    items_[count_++] = item;
    return true;
  }
  void clear() noexcept {
    count_ = 0;
    cut_ = false;
  }

  std::size_t count() const noexcept { return count_; }
  bool empty() const noexcept { return count_ == 0; }
  bool full() const noexcept { return count_ == count_max; }
  bool cut() const noexcept { return cut_; }
  T& back() noexcept {
    MERIDIAN_ASSERT(count_ > 0);
    return items_[count_ - 1];
  }

  const T* begin() const noexcept { return items_.data(); }
  const T* end() const noexcept { return items_.data() + count_; }

 private:
  std::array<T, CountMax> items_;
  std::size_t count_ = 0;
  bool cut_ = false;
};

// Stands for a statement without its literals. Zero: none, the text could not be parsed.
using Fingerprint = Named<std::uint64_t, struct FingerprintTag>;

// A place in PostgreSQL's write-ahead log.
using Lsn = Named<std::uint64_t, struct LsnTag>;

// Five characters of SQLSTATE; "00000" is success.
struct Sqlstate {
  std::array<char, 5> code{'0', '0', '0', '0', '0'};

  // Other lengths become "XX000", PostgreSQL's internal error.
  static constexpr Sqlstate of(std::string_view text) noexcept {
    Sqlstate state;
    std::ranges::copy(text.size() == 5 ? text : std::string_view("XX000"), state.code.begin());
    return state;
  }
  bool success() const noexcept { return *this == Sqlstate(); }
  std::string_view text() const noexcept { return {code.data(), code.size()}; }
  friend bool operator==(const Sqlstate&, const Sqlstate&) = default;
};

}  // namespace meridian::trail
