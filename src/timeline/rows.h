#pragma once
// What a statement takes and gives: values as text, in the database's own text format.

#include <cstddef>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace meridian {

using Value = std::optional<std::string>;           // Empty is NULL.
using Parameter = std::optional<std::string_view>;  // The same, borrowed.

// The values of $1, $2, ... Borrowed until the awaiting expression ends.
class Parameters {
 public:
  Parameters() noexcept = default;
  Parameters(std::initializer_list<Parameter> list) noexcept : items_(list.begin(), list.size()) {}
  explicit Parameters(std::span<const Parameter> items) noexcept : items_(items) {}

  std::span<const Parameter> items() const noexcept { return items_; }

 private:
  std::span<const Parameter> items_;
};

class Rows {
 public:
  Rows() = default;
  Rows(std::vector<std::string> columns, std::vector<Value> values)
      : columns_(std::move(columns)), values_(std::move(values)) {}

  std::size_t count() const noexcept {
    return columns_.empty() ? 0 : values_.size() / columns_.size();
  }
  bool empty() const noexcept { return values_.empty(); }
  const std::vector<std::string>& columns() const noexcept { return columns_; }

  // Requires row < count() and column < columns().size().
  const Value& at(std::size_t row, std::size_t column) const {
    return values_.at(row * columns_.size() + column);
  }

  // The same as text, NULL as empty.
  std::string_view text(std::size_t row, std::size_t column) const {
    const Value& value = at(row, column);
    return value ? std::string_view(*value) : std::string_view();
  }

  // "t" or "f", as booleans look.
  bool flag(std::size_t row, std::size_t column) const { return text(row, column) == "t"; }

 private:
  std::vector<std::string> columns_;
  std::vector<Value> values_;
};

}  // namespace meridian
