#include "wire/json/value.h"

#include "base/escape.h"

namespace meridian::json {

Value::Value() noexcept = default;
Value::Value(bool value) noexcept : value_(value) {}
Value::Value(std::int64_t value) noexcept : value_(value) {}
Value::Value(double value) noexcept : value_(value) {}
Value::Value(std::string value) noexcept : value_(std::move(value)) {}
Value::Value(const char* value) : value_(std::string(value)) {}
Value::Value(Array values) noexcept : value_(std::move(values)) {}
Value::Value(Object members) noexcept : value_(std::move(members)) {}
Value::Value(const Value& other) = default;
Value::Value(Value&& other) noexcept = default;
Value& Value::operator=(const Value& other) = default;
Value& Value::operator=(Value&& other) noexcept = default;
Value::~Value() = default;

std::optional<bool> Value::boolean() const noexcept {
  const bool* const value = std::get_if<bool>(&value_);
  return value ? std::optional(*value) : std::nullopt;
}

std::optional<std::int64_t> Value::integer() const noexcept {
  const std::int64_t* const value = std::get_if<std::int64_t>(&value_);
  return value ? std::optional(*value) : std::nullopt;
}

std::optional<double> Value::number() const noexcept {
  if (const double* const value = std::get_if<double>(&value_)) return *value;
  if (const auto value = integer()) return static_cast<double>(*value);
  return std::nullopt;
}

std::optional<std::string_view> Value::string() const noexcept {
  const std::string* const value = std::get_if<std::string>(&value_);
  return value ? std::optional<std::string_view>(*value) : std::nullopt;
}

const Value* Value::find(std::string_view name) const noexcept {
  const Object* const members = object();
  if (!members) return nullptr;
  for (const Member& member : *members) {
    if (member.name == name) return &member.value;
  }
  return nullptr;
}

Result<std::string_view> Value::string_at(std::string_view name) const {
  const Value* const value = find(name);
  if (!value) return fail(Errc::invalid, "the member " + quote(name) + " is missing");
  if (const auto text = value->string()) return *text;
  return fail(Errc::invalid, "the member " + quote(name) + " is not a string");
}

bool operator==(const Value& a, const Value& b) noexcept {
  return a.value_ == b.value_;
}

}  // namespace meridian::json
