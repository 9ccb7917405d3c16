#include "engines/engine_answers.h"

#include "base/escape.h"

#include <cstdint>

namespace meridian {
namespace {

void append_int32(std::string& out, std::uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8)
    out += static_cast<char>(value >> shift & 0xff);
}

// The value of a field of an ErrorResponse: its type, text and NUL, until an empty type.
std::string_view error_field(std::string_view fields, char type) {
  while (!fields.empty() && fields.front() != '\0') {
    const std::size_t end = fields.find('\0');
    if (end == std::string_view::npos) return {};
    if (fields.front() == type) return fields.substr(1, end - 1);
    fields.remove_prefix(end + 1);
  }
  return {};
}

}  // namespace

std::string make_postgres_startup(std::string_view user, std::string_view database) {
  std::string body;
  append_int32(body, 3 << 16);
  for (const std::string_view text :
       {std::string_view("user"), user, std::string_view("database"), database}) {
    body += text;
    body += '\0';
  }
  body += '\0';
  std::string message;
  append_int32(message, static_cast<std::uint32_t>(body.size() + 4));
  return message + body;
}

std::optional<Result<void>> judge_postgres_answer(std::string_view bytes) {
  constexpr std::size_t header_size = 5;
  if (bytes.empty()) return std::nullopt;
  if (bytes[0] == 'R') return Result<void>();
  if (bytes[0] != 'E') {
    return fail(Errc::unavailable, "it answered what PostgreSQL does not: " + quote(bytes, 32));
  }
  if (bytes.size() < header_size) return std::nullopt;
  std::uint32_t size = 0;
  for (std::size_t i = 1; i < header_size; ++i)
    size = size << 8 | static_cast<std::uint8_t>(bytes[i]);
  if (size < 4 || size > engine_answer_size_max - 1) {
    return fail(Errc::unavailable, "it answered with an error that is not well-formed");
  }
  const std::string_view rest = bytes.substr(header_size);
  if (rest.size() < size - 4) return std::nullopt;
  const std::string_view fields = rest.substr(0, size - 4);
  const std::string_view state = error_field(fields, 'C');
  // Class 53, insufficient resources: it serves, and as many as it may (appendix A).
  if (state.starts_with("53")) return Result<void>();
  return fail(Errc::unavailable,
              "it answered " + escape(state, 5) + ": " + escape(error_field(fields, 'M')));
}

Secret make_redis_greeting(const Secret& password) {
  const std::string_view text = password.reveal();
  return Secret("*2\r\n$4\r\nAUTH\r\n$" + std::to_string(text.size()) + "\r\n" + std::string(text) +
                "\r\n*1\r\n$4\r\nPING\r\n");
}

Secret make_nats_greeting(const Secret& token) {
  std::string text = R"(CONNECT {"verbose":false,"pedantic":false,"auth_token":")";
  text += token.reveal();  // Letters, digits, - and _ (secret_file.h).
  Secret greeting(text + "\"}\r\nPING\r\n");
  wipe(text.data(), text.size());
  return greeting;
}

std::optional<Result<void>> judge_nats_answer(std::string_view bytes) {
  constexpr std::string_view end_of_line = "\r\n";
  for (const std::string_view wanted : {"INFO ", "PONG"}) {
    const std::size_t end = bytes.find(end_of_line);
    if (end == std::string_view::npos) {
      if (bytes.size() < engine_answer_size_max) return std::nullopt;
      return fail(Errc::unavailable, "it answered what NATS does not: " + quote(bytes, 32));
    }
    const std::string_view line = bytes.substr(0, end);
    if (!line.starts_with(wanted)) return fail(Errc::unavailable, "it answered " + quote(line));
    bytes.remove_prefix(end + end_of_line.size());
  }
  return Result<void>();
}

std::optional<Result<void>> judge_redis_answer(std::string_view bytes) {
  constexpr std::string_view end_of_line = "\r\n";
  for (const std::string_view wanted : {"+OK", "+PONG"}) {
    const std::size_t end = bytes.find(end_of_line);
    if (end == std::string_view::npos) {
      if (bytes.size() < engine_answer_size_max) return std::nullopt;
      return fail(Errc::unavailable, "it answered what Redis does not: " + quote(bytes, 32));
    }
    const std::string_view line = bytes.substr(0, end);
    if (line != wanted) return fail(Errc::unavailable, "it answered " + quote(line));
    bytes.remove_prefix(end + end_of_line.size());
  }
  return Result<void>();
}

}  // namespace meridian
