#include "wire/resp/reply_framer.h"

#include "base/assert.h"
#include "base/escape.h"
#include "wire/resp/usual_length.h"

#include <algorithm>

namespace meridian::resp {
namespace {

constexpr std::uint8_t digits_max = 19;  // Any such number fits 64 bits.

constexpr bool is_digit(char c) noexcept {
  return c >= '0' && c <= '9';
}

}  // namespace

Result<ReplyFramer::Piece> ReplyFramer::next(std::string_view& input) {
  MERIDIAN_ASSERT(!input.empty());
  std::string_view rest = input;
  if (state_ == State::between) {
    values_left_ = 1;
    push_ = rest.front() == '>';
    state_ = State::value;
  }
  while (!rest.empty() && state_ != State::between) {
    if (!take(rest)) {
      const std::size_t offset = input.size() - rest.size();
      return fail(Errc::invalid,
                  "the Redis server broke its protocol: " + std::string(complaint_) + ", at " +
                      quote(input.substr(offset), 32));
    }
  }
  const Piece piece{.bytes = input.substr(0, input.size() - rest.size()),
                    .last = state_ == State::between,
                    .push = push_};
  input = rest;
  return piece;
}

bool ReplyFramer::complain(std::string_view complaint) noexcept {
  complaint_ = complaint;
  return false;
}

bool ReplyFramer::take(std::string_view& rest) noexcept {
  switch (state_) {
    case State::between:
      return complain("no reply has begun");
    case State::value:
      if (take_usual_string(rest)) return true;
      if (!take_type(rest.front())) return false;
      rest.remove_prefix(1);
      return true;
    case State::length:
      return take_length(rest);
    case State::length_end:
      if (!take_end(rest, '\n', State::value)) return false;
      return end_length();
    case State::line:
      return take_line(rest);
    case State::line_end:
      if (!take_end(rest, '\n', State::value)) return false;
      end_value();
      return true;
    case State::bulk:
      return take_bulk(rest);
    case State::bulk_cr:
      return take_end(rest, '\r', State::bulk_lf);
    case State::bulk_lf:
      if (!take_end(rest, '\n', State::value)) return false;
      end_value();
      return true;
  }
  return complain("no such state");
}

// A string that is whole and no longer than most: all of it at once.
bool ReplyFramer::take_usual_string(std::string_view& rest) noexcept {
  const char* const end = rest.data() + rest.size();
  const UsualLength size = usual_length(rest.data(), end, '$');
  if (!size.end || size.value > limits_.value_bytes_max) return false;
  if (static_cast<std::size_t>(end - size.end) < size.value + 2) return false;
  const char* const behind = size.end + size.value;
  if (behind[0] != '\r' || behind[1] != '\n') return false;
  rest.remove_prefix(static_cast<std::size_t>(behind + 2 - rest.data()));
  end_value();
  return true;
}

bool ReplyFramer::take_type(char type) noexcept {
  type_ = type;
  number_ = 0;
  digits_count_ = 0;
  negative_ = false;
  switch (type) {
    case '+':
    case '-':
    case ':':
    case ',':
    case '#':
    case '_':
    case '(':
      state_ = State::line;
      return true;
    case '>':
      if (!push_ || values_left_ != 1) return complain("a push message inside a reply");
      [[fallthrough]];
    case '$':
    case '!':
    case '=':
    case '*':
    case '~':
    case '%':
    case '|':
      state_ = State::length;
      return true;
    default:
      return complain("no type of reply");
  }
}

bool ReplyFramer::take_length(std::string_view& rest) noexcept {
  while (!rest.empty()) {
    const char c = rest.front();
    if (is_digit(c)) {
      if (++digits_count_ > digits_max) return complain("a length of too many digits");
      number_ = number_ * 10 + static_cast<std::uint64_t>(c - '0');
    } else if (c == '-' && digits_count_ == 0 && !negative_) {
      negative_ = true;
    } else if (c == '\r' && digits_count_ != 0) {
      rest.remove_prefix(1);
      state_ = State::length_end;
      return true;
    } else {
      return complain("a length that is no number");
    }
    rest.remove_prefix(1);
  }
  return true;
}

bool ReplyFramer::end_length() noexcept {
  if (negative_) {
    // Null, as version 2 spells it.
    if (number_ != 1 || (type_ != '$' && type_ != '*')) return complain("a negative length");
    end_value();
    return true;
  }
  switch (type_) {
    case '$':
    case '!':
    case '=':
      if (number_ > limits_.value_bytes_max) return complain("a string beyond value_bytes_max");
      state_ = State::bulk;
      return true;
    case '%':
      if (!expect_values(2)) return false;
      end_value();
      return true;
    case '|':
      // It only annotates the value that follows and is none itself.
      state_ = State::value;
      return expect_values(2);
    default:
      if (!expect_values(1)) return false;
      end_value();
      return true;
  }
}

bool ReplyFramer::expect_values(std::uint64_t per_unit) noexcept {
  if (number_ > (limits_.values_max - std::min(values_left_, limits_.values_max)) / per_unit) {
    return complain("more values than values_max");
  }
  values_left_ += number_ * per_unit;
  return true;
}

bool ReplyFramer::take_line(std::string_view& rest) noexcept {
  const std::size_t end = rest.find('\r');
  const std::size_t taken = std::min(end, rest.size());
  number_ += taken;
  if (number_ > limits_.value_bytes_max) return complain("a line beyond value_bytes_max");
  rest.remove_prefix(taken);
  if (end == std::string_view::npos) return true;
  rest.remove_prefix(1);
  state_ = State::line_end;
  return true;
}

bool ReplyFramer::take_bulk(std::string_view& rest) noexcept {
  const std::uint64_t taken = std::min<std::uint64_t>(number_, rest.size());
  number_ -= taken;
  rest.remove_prefix(static_cast<std::size_t>(taken));
  if (number_ == 0) state_ = State::bulk_cr;
  return true;
}

bool ReplyFramer::take_end(std::string_view& rest, char expected, State next) noexcept {
  if (rest.front() != expected) return complain("a value that does not end in CR LF");
  rest.remove_prefix(1);
  state_ = next;
  return true;
}

void ReplyFramer::end_value() noexcept {
  --values_left_;
  state_ = values_left_ == 0 ? State::between : State::value;
}

}  // namespace meridian::resp
