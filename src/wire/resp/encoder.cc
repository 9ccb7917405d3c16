#include "wire/resp/encoder.h"

#include "base/assert.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

namespace meridian::resp {
namespace {

constexpr std::string_view line_end = "\r\n";

// Type, the longest 64-bit number, line end.
constexpr std::size_t number_line_size_max = 1 + 20 + 2;

template <class Number>
void append_number_line(std::string& out, char type, Number number) {
  std::array<char, number_line_size_max> line;
  line[0] = type;
  char* end = std::to_chars(line.data() + 1, line.data() + line.size() - 2, number).ptr;
  *end++ = '\r';
  *end++ = '\n';
  out.append(line.data(), end);
}

// In one piece, so that the string looks for room once.
void append_bulk(std::string& out, char type, std::string_view bytes) {
  const std::size_t before = out.size();
  const std::size_t most = before + number_line_size_max + bytes.size() + line_end.size();
  out.resize_and_overwrite(most, [&](char* begin, std::size_t size) {
    char* at = begin + before;
    *at++ = type;
    at = std::to_chars(at, begin + size, bytes.size()).ptr;
    at = std::ranges::copy(line_end, at).out;
    at = std::ranges::copy(bytes, at).out;
    at = std::ranges::copy(line_end, at).out;
    return static_cast<std::size_t>(at - begin);
  });
}

// As Redis spells doubles; the shortest digits that read back as the same value.
std::string_view to_text(double value, std::array<char, 32>& buffer) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  const char* const end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value).ptr;
  return {buffer.data(), end};
}

}  // namespace

void ReplyWriter::line(char type, std::string_view text) {
  out_ += type;
  for (const char c : text)
    out_ += c == '\r' || c == '\n' || c == '\0' ? ' ' : c;
  out_ += line_end;
}

void ReplyWriter::header(char type, std::size_t count) {
  append_number_line(out_, type, count);
}

void ReplyWriter::simple(std::string_view text) {
  line('+', text);
}

void ReplyWriter::error(std::string_view text) {
  line('-', text);
}

void ReplyWriter::integer(std::int64_t number) {
  append_number_line(out_, ':', number);
}

void ReplyWriter::bulk(std::string_view bytes) {
  append_bulk(out_, '$', bytes);
}

void ReplyWriter::null() {
  out_ += resp3() ? "_\r\n" : "$-1\r\n";
}

void ReplyWriter::null_array() {
  out_ += resp3() ? "_\r\n" : "*-1\r\n";
}

void ReplyWriter::boolean(bool value) {
  if (!resp3()) return integer(value ? 1 : 0);
  out_ += value ? "#t\r\n" : "#f\r\n";
}

void ReplyWriter::number(double value) {
  std::array<char, 32> buffer;
  const std::string_view text = to_text(value, buffer);
  if (!resp3()) return bulk(text);
  line(',', text);
}

void ReplyWriter::big_number(std::string_view digits) {
  if (!resp3()) return bulk(digits);
  line('(', digits);
}

void ReplyWriter::verbatim(std::string_view format, std::string_view text) {
  constexpr std::size_t format_size = 3;
  MERIDIAN_ASSERT(format.size() == format_size);
  if (!resp3()) return bulk(text);
  header('=', format_size + 1 + text.size());
  out_ += format;
  out_ += ':';
  out_ += text;
  out_ += line_end;
}

void ReplyWriter::array(std::size_t count) {
  header('*', count);
}

void ReplyWriter::set(std::size_t count) {
  header(resp3() ? '~' : '*', count);
}

void ReplyWriter::map(std::size_t entries_count) {
  if (resp3()) {
    header('%', entries_count);
  } else {
    header('*', entries_count * 2);
  }
}

void ReplyWriter::push(std::size_t count) {
  header(resp3() ? '>' : '*', count);
}

void append_request(std::string& out, std::span<const std::string_view> arguments) {
  append_number_line(out, '*', arguments.size());
  for (const std::string_view argument : arguments)
    append_bulk(out, '$', argument);
}

void append_request(std::string& out, std::initializer_list<std::string_view> arguments) {
  append_request(out, std::span(arguments.begin(), arguments.size()));
}

}  // namespace meridian::resp
