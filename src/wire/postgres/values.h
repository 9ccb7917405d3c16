#pragma once
// The values of one row (DataRow) or of one execution (Bind, FunctionCall): each absent, which is
// NULL, or bytes. A view of a message body that has been checked from end to end.

#include "wire/postgres/bytes.h"

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string_view>

namespace meridian::postgres {

using Value = std::optional<std::string_view>;

class Values {
 public:
  Values() = default;

  // Takes `count` values, each a length (-1 for NULL) and its bytes, from the reader, which fails
  // when one does not fit.
  Values(BodyReader& reader, std::size_t count) noexcept : count_(count) {
    const char* const begin = reader.rest().data();
    for (std::size_t i = 0; i < count && !reader.failed(); ++i) {
      const auto size = reader.number<std::int32_t>();
      if (size < -1) reader.fail("a value in it has a negative length");
      if (size > 0) (void)reader.bytes(static_cast<std::size_t>(size));
    }
    if (reader.failed()) {
      count_ = 0;
    } else if (count != 0) {
      raw_ = {begin, reader.rest().data()};
    }
  }

  std::size_t size() const noexcept { return count_; }
  bool empty() const noexcept { return count_ == 0; }

  class Iterator {
   public:
    using value_type = Value;
    using difference_type = std::ptrdiff_t;
    using iterator_category = std::input_iterator_tag;

    Iterator() = default;
    explicit Iterator(const char* at) noexcept : at_(at) {}

    Value operator*() const noexcept {
      const auto size = load_big_endian<std::int32_t>(at_);
      if (size < 0) return std::nullopt;
      return std::string_view(at_ + sizeof size, static_cast<std::size_t>(size));
    }
    Iterator& operator++() noexcept {
      const auto size = load_big_endian<std::int32_t>(at_);
      at_ += sizeof size + static_cast<std::size_t>(size < 0 ? 0 : size);
      return *this;
    }
    Iterator operator++(int) noexcept {
      const Iterator before = *this;
      ++*this;
      return before;
    }
    friend bool operator==(const Iterator&, const Iterator&) = default;

   private:
    const char* at_ = nullptr;
  };

  Iterator begin() const noexcept { return Iterator(raw_.data()); }
  Iterator end() const noexcept { return Iterator(raw_.data() + raw_.size()); }

 private:
  std::string_view raw_;
  std::size_t count_ = 0;
};

}  // namespace meridian::postgres
