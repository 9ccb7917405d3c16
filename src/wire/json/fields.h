#pragma once
// Some members of a JSON text (RFC 8259), found without building the whole: for many small texts of
// one shape. Numbers stay as they are written, so none loses a digit.
//
// As strict as parse(): all of the text must be well-formed, and a member that is asked for may not
// stand there twice.

#include "base/result.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace meridian::json {

enum class FieldKind : std::uint8_t {
  missing,
  null,
  boolean,
  number,
  string,
  object,
  array,
  bytes,  // Of Protobuf alone, as is the next.
  enumeration,
};
std::string_view to_string(FieldKind kind) noexcept;

struct Field {
  FieldKind kind = FieldKind::missing;
  std::string_view raw;   // As it stands in the text.
  std::string_view text;  // Of a string without quotes and escapes; of others as `raw`.

  // Of bytes, which are in `text` as they are: with \x and hex digits. Of an enumeration, of which
  // `text` has the name, and of an array of them: the number, and the array of numbers.
  std::string_view alternative{};
};

class FieldReader {
 public:
  static constexpr std::size_t depth_max = 32;
  static constexpr std::size_t index_max = 9'999;

  // Paths such as "total", "address.city", "lines[0].sku". The order is that of what read() gives.
  // Errors: invalid.
  static Result<FieldReader> make(const std::vector<std::string>& paths);

  // The fields of `text`, one a path, good while `text` and the reader live and until the next
  // read(). Errors: invalid, with the byte; exhausted (depth_max). They quote nothing of the text.
  Result<const std::vector<Field>*> read(std::string_view text);

  std::size_t count() const noexcept { return fields_.size(); }

 private:
  struct Node {
    std::string name;       // Of the member that leads here; empty for an element.
    std::size_t index = 0;  // Of the element.
    bool element = false;
    std::vector<std::size_t> children{};
    std::vector<std::size_t> wanted{};  // Paths that end here.
  };
  struct Cursor;

  FieldReader() = default;

  std::size_t child_of(std::size_t node, std::string_view name, bool element, std::size_t index);
  bool read_value(Cursor& at, std::size_t node, std::size_t depth);
  bool read_object(Cursor& at, std::size_t node, std::size_t depth);
  bool read_array(Cursor& at, std::size_t node, std::size_t depth);

  std::vector<Node> nodes_;
  std::vector<Field> fields_;
  std::vector<std::string> unescaped_;  // One a path: what `text` may point into.
};

// A JSON array of scalars as PostgreSQL's text for an array, such as {1,NULL,"a b"}. Errors:
// invalid.
Result<std::string> to_sql_array(std::string_view raw);

}  // namespace meridian::json
