#include "wire/json/reader.h"

#include "base/escape.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <utility>

namespace meridian::json {
namespace {

constexpr std::size_t path_size_max = 200;

// Builds the value from the parser's events. An event answers false to end the parse; error_ says
// why then.
class Builder {
 public:
  explicit Builder(Limits limits) noexcept : limits_(limits) {}

  bool null() { return add(Value()); }
  bool boolean(bool value) { return add(Value(value)); }
  bool number_integer(std::int64_t value) { return add(Value(value)); }
  bool number_unsigned(std::uint64_t value) {
    if (std::in_range<std::int64_t>(value)) return add(Value(static_cast<std::int64_t>(value)));
    return add(Value(static_cast<double>(value)));
  }
  bool number_float(double value, const std::string& /*text*/) {
    if (!std::isfinite(value)) return refuse(Errc::invalid, "a number is out of range");
    return add(Value(value));
  }
  bool string(std::string& value) { return add(Value(std::move(value))); }
  bool binary(std::vector<std::uint8_t>& /*value*/) {
    return refuse(Errc::invalid, "binary values are no JSON");
  }

  bool start_object(std::size_t /*unknown*/) { return open(true); }
  bool key(std::string& name) {
    open_.back().name = std::move(name);
    return true;
  }
  bool end_object() {
    if (!names_are_distinct()) return false;
    Level level = std::move(open_.back());
    open_.pop_back();
    return add(Value(std::move(level.members)));
  }
  bool start_array(std::size_t /*unknown*/) { return open(false); }
  bool end_array() {
    Level level = std::move(open_.back());
    open_.pop_back();
    return add(Value(std::move(level.values)));
  }

  bool parse_error(std::size_t position,
                   const std::string& /*last_token*/,
                   const nlohmann::detail::exception& error) {
    // 406 is the parser's number for a number that no double can hold.
    return refuse(Errc::invalid,
                  fmt::format("{} at byte {}",
                              error.id == 406 ? "a number is out of range" : "the syntax is wrong",
                              position));
  }

  Value take() { return std::move(root_); }

  // Requires that an event was answered with false.
  Error take_error() { return *std::move(error_); }

 private:
  struct Level {
    bool is_object = false;
    std::string name;  // Of the member that is being read.
    Value::Object members;
    Value::Array values;
  };

  bool refuse(Errc code, std::string_view what) {
    error_.emplace(code, fmt::format("{} (in {})", what, path()));
    return false;
  }

  // "$.keys[3].kid": where the parse is.
  std::string path() const {
    std::string path = "$";
    for (const Level& level : open_) {
      path +=
          level.is_object ? "." + escape(level.name, 64) : fmt::format("[{}]", level.values.size());
      if (path.size() > path_size_max) return path.substr(0, path_size_max) + "...";
    }
    return path;
  }

  bool open(bool is_object) {
    if (open_.size() >= limits_.depth_max) {
      return refuse(Errc::exhausted,
                    fmt::format("the JSON text nests deeper than {} levels", limits_.depth_max));
    }
    open_.emplace_back().is_object = is_object;
    return true;
  }

  bool add(Value value) {
    if (open_.empty()) {
      root_ = std::move(value);
    } else if (open_.back().is_object) {
      open_.back().members.push_back({std::move(open_.back().name), std::move(value)});
    } else {
      open_.back().values.push_back(std::move(value));
    }
    return true;
  }

  bool names_are_distinct() {
    std::vector<std::string_view> names;
    names.reserve(open_.back().members.size());
    for (const Member& member : open_.back().members)
      names.emplace_back(member.name);
    std::ranges::sort(names);
    const auto twice = std::ranges::adjacent_find(names);
    if (twice == names.end()) return true;
    open_.back().name = std::string(*twice);
    return refuse(Errc::invalid, "two members have the same name");
  }

  Limits limits_;
  Value root_;
  std::vector<Level> open_;
  std::optional<Error> error_;
};

}  // namespace

Result<Value> parse(std::string_view text, Limits limits) {
  if (text.size() > limits.size_max) {
    return fail(
        Errc::exhausted,
        fmt::format("the JSON text has {} bytes; at most {}", text.size(), limits.size_max));
  }
  // The parser would skip a byte order mark; RFC 8259, section 8.1, allows none.
  if (text.starts_with('\xef')) {
    return fail(Errc::invalid, "the JSON text begins with a byte order mark");
  }
  // NUL ends the parser's input, whatever follows it. JSON text never has one.
  if (const std::size_t nul = text.find('\0'); nul != std::string_view::npos) {
    return fail(Errc::invalid, fmt::format("a NUL at byte {}", nul));
  }
  Builder builder(limits);
  if (!nlohmann::json::sax_parse(text.begin(), text.end(), &builder)) {
    return std::unexpected(builder.take_error());
  }
  return builder.take();
}

}  // namespace meridian::json
