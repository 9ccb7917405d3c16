#pragma once
// A JSON value (RFC 8259) as it was read: it never changes, so that threads may share it.
//
// Object members keep their order and have distinct names. Numbers are 64-bit integers where they
// are written so and fit, otherwise finite doubles.

#include "base/result.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace meridian::json {

struct Member;

class Value {
 public:
  using Array = std::vector<Value>;
  using Object = std::vector<Member>;

  Value() noexcept;  // null
  explicit Value(bool value) noexcept;
  explicit Value(std::int64_t value) noexcept;
  explicit Value(double value) noexcept;  // Requires a finite number.
  explicit Value(std::string value) noexcept;
  explicit Value(const char* value);
  explicit Value(Array values) noexcept;
  explicit Value(Object members) noexcept;  // Requires distinct names.
  Value(const Value& other);
  Value(Value&& other) noexcept;
  Value& operator=(const Value& other);
  Value& operator=(Value&& other) noexcept;
  ~Value();

  // Each is empty when the value is of another kind.
  bool is_null() const noexcept { return std::holds_alternative<std::monostate>(value_); }
  std::optional<bool> boolean() const noexcept;
  std::optional<std::int64_t> integer() const noexcept;
  std::optional<double> number() const noexcept;  // Integers too.
  std::optional<std::string_view> string() const noexcept;
  const Array* array() const noexcept { return std::get_if<Array>(&value_); }
  const Object* object() const noexcept { return std::get_if<Object>(&value_); }

  // The member of this name; null when there is none, or when this is no object.
  const Value* find(std::string_view name) const noexcept;

  // The string that the member of this name must be. Errors: invalid, naming the member.
  Result<std::string_view> string_at(std::string_view name) const;

  friend bool operator==(const Value& a, const Value& b) noexcept;

 private:
  std::variant<std::monostate, bool, std::int64_t, double, std::string, Array, Object> value_;
};

struct Member {
  std::string name;
  Value value;

  friend bool operator==(const Member&, const Member&) = default;
};

}  // namespace meridian::json
