#pragma once
// Text from a peer, made fit for a log line, an error or a terminal.

#include <cstddef>
#include <string>
#include <string_view>

namespace meridian {

// Control characters, quotes, backslashes and bytes that are no UTF-8 become \n, \" or \x1b; what
// is longer than `size_max` bytes is cut and ends in "...".
std::string escape(std::string_view text, std::size_t size_max = 256);

// The same with quotes and backslashes as they are: for people, where nothing parses the text.
std::string printable(std::string_view text, std::size_t size_max = 256);

// As escape(), between double quotes.
std::string quote(std::string_view text, std::size_t size_max = 256);

// A JSON string with its quotes (RFC 8259, section 7). Bytes that are no UTF-8 become U+FFFD.
std::string to_json_string(std::string_view text);
void append_json_string(std::string& out, std::string_view text);

// The size in bytes of the UTF-8 sequence that `text` begins with; 0 when it is none (RFC 3629,
// section 4).
std::size_t utf8_sequence_size(std::string_view text) noexcept;
bool is_utf8(std::string_view text) noexcept;

}  // namespace meridian
