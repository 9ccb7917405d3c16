#pragma once
// Replies and requests as bytes, appended to the caller's buffer.

#include "wire/resp/protocol.h"

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

namespace meridian::resp {

// Writes replies in the version that a client speaks. What version 2 has no type for takes the form
// that Redis gives it: a map is a flat array, a boolean 0 or 1, a double a string.
class ReplyWriter {
 public:
  // `out` must outlive the writer.
  ReplyWriter(std::string& out, Protocol protocol) noexcept : out_(out), protocol_(protocol) {}

  Protocol protocol() const noexcept { return protocol_; }

  // One line each: CR, LF and NUL in the text become blanks, so that no text can end a reply early.
  void simple(std::string_view text);
  void error(std::string_view text);  // Begins with a code: "ERR no such key".

  void integer(std::int64_t number);
  void bulk(std::string_view bytes);
  void null();
  void null_array();  // Where version 2 answers "*-1": EXEC and blocking reads that gave up.
  void boolean(bool value);
  void number(double value);
  void big_number(std::string_view digits);
  void verbatim(std::string_view format, std::string_view text);  // Requires a format of 3 bytes.

  // As many values follow; for a map two for each entry.
  void array(std::size_t count);
  void set(std::size_t count);
  void map(std::size_t entries_count);
  void push(std::size_t count);

 private:
  void header(char type, std::size_t count);
  void line(char type, std::string_view text);
  bool resp3() const noexcept { return protocol_ == Protocol::resp3; }

  std::string& out_;
  Protocol protocol_;
};

// A request as every server understands it: an array of bulk strings.
void append_request(std::string& out, std::span<const std::string_view> arguments);
void append_request(std::string& out, std::initializer_list<std::string_view> arguments);

}  // namespace meridian::resp
