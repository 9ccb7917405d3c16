#pragma once
// Where each reply of a Redis server ends, without holding any of it.
//
// For relaying: what comes from the server is cut at the borders of replies and handed on, however
// large a reply is and however it was split on its way. The server is not trusted: lengths are
// bounded, and nothing that it can send makes the framer grow. Nesting needs no bound here, because
// only the number of values that are still missing is kept.

#include "base/result.h"

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace meridian::resp {

// Claims of a server beyond which it is taken to be out of step. They cost no memory, so they are
// far above what a healthy server sends.
struct ReplyLimits {
  std::uint64_t value_bytes_max = std::uint64_t{4} << 30;  // Of a string, or of a line.
  std::uint64_t values_max = std::uint64_t{1} << 40;       // Of one reply still to come.
};

// Both versions of the protocol, without streamed strings and aggregates, which Redis never sends.
class ReplyFramer {
 public:
  struct Piece {
    std::string_view bytes;  // The next part of the present reply.
    bool last = false;       // The reply ends with it.
    bool push = false;       // Not an answer but a message that comes unasked (RESP3, ">").
  };

  explicit ReplyFramer(ReplyLimits limits = {}) noexcept : limits_(limits) {}

  // Takes the present reply, or as much of it as there is, off the front of `input`. An attribute
  // is a part of the reply that it stands before. Requires that `input` is not empty.
  // Error: invalid; the server is out of step, so the connection has to end.
  Result<Piece> next(std::string_view& input);

  // Nothing of an unfinished reply has been seen.
  bool between_replies() const noexcept { return state_ == State::between; }

 private:
  enum class State : std::uint8_t {
    between,     // A reply begins.
    value,       // A value inside a reply begins.
    length,      // In a length; type_ says of what.
    length_end,  // At the LF behind it.
    line,        // In a value that is one line.
    line_end,    // At the LF behind it.
    bulk,        // In the bytes of a string.
    bulk_cr,     // At the CR behind them.
    bulk_lf,
  };

  // Each takes what it can off `rest` and is false when that breaks the protocol; complaint_ says
  // how.
  bool take(std::string_view& rest) noexcept;
  bool take_usual_string(std::string_view& rest) noexcept;
  bool take_type(char type) noexcept;
  bool take_length(std::string_view& rest) noexcept;
  bool end_length() noexcept;
  bool take_line(std::string_view& rest) noexcept;
  bool take_bulk(std::string_view& rest) noexcept;
  bool take_end(std::string_view& rest, char expected, State next) noexcept;

  bool expect_values(std::uint64_t per_unit) noexcept;
  void end_value() noexcept;
  bool complain(std::string_view complaint) noexcept;

  ReplyLimits limits_;
  std::string_view complaint_;
  std::uint64_t values_left_ = 0;  // Of the present reply, the one being read included.
  std::uint64_t number_ = 0;  // The length so far; the line's bytes so far; the string's to come.
  State state_ = State::between;
  char type_ = 0;  // Of the value being read.
  bool push_ = false;
  bool negative_ = false;
  std::uint8_t digits_count_ = 0;
};

}  // namespace meridian::resp
