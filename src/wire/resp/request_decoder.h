#pragma once
// What clients send to Redis, cut into requests: arrays of bulk strings, and inline lines.
//
// One decoder belongs to one connection. It takes over redis-server's grammar and its error texts,
// and is stricter in one way: every line and every bulk string must end in CR LF. So the bytes of a
// request mean the same to whoever reads them next, and may be relayed as they came.

#include "base/result.h"
#include "wire/resp/inline_request.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace meridian::resp {

// What a client may make us hold. Each is checked before anything is allocated for it.
struct RequestLimits {
  std::size_t request_bytes_max = 64 << 20;  // Redis: 512 MiB for each argument.
  std::size_t arguments_max = 65'536;        // Redis: 1,048,576 and later 2^31.
  std::size_t line_bytes_max = 64 * 1024;    // Of an inline request or a length; as in Redis.

  // As long as set_authenticated() has not said otherwise; both as in Redis.
  std::size_t unauthenticated_arguments_max = 10;
  std::size_t unauthenticated_argument_bytes_max = 16'384;
};

struct Request {
  std::span<const std::string_view> arguments;  // At least one.
  std::string_view bytes;  // As it came. What another server may be sent unless is_inline.
  bool is_inline = false;
};

class RequestDecoder {
 public:
  explicit RequestDecoder(RequestLimits limits = {}) noexcept : limits_(limits) {}

  // Takes the next request off the front of `input`. Nothing when `input` is used up: what there
  // was of an unfinished request is kept. The request is views of `input` and of the decoder, good
  // until the next call. Requests without arguments are skipped, as in Redis.
  //
  // Error: invalid, with the text that redis-server answers after "-ERR ". The decoder is of no
  // further use then; the connection has to end.
  Result<std::optional<Request>> next(std::string_view& input);

  // Applies to what next() reads from now on.
  void set_authenticated(bool authenticated) noexcept { authenticated_ = authenticated; }

  // Of an unfinished request. An idle connection between two requests holds nothing.
  std::size_t held_bytes() const noexcept { return tail_whole_ ? 0 : tail_.size(); }

 private:
  enum class Scan : std::uint8_t { partial, whole, broken };

  // Takes the request that nearly all are: whole, and nothing in it near a limit. Zero when it is
  // another, which scan() then looks at from its start.
  std::size_t take_usual(std::string_view bytes);

  // Each looks at what is new in `bytes`, which hold the present request from its start; what is
  // broken is in complaint_.
  Scan scan(std::string_view bytes);
  Scan scan_inline(std::string_view bytes);
  Scan scan_multibulk(std::string_view bytes);
  Scan take_count(std::string_view bytes);
  Scan take_size(std::string_view bytes);

  // What the line at position_ is the length of, for complaints.
  struct LineName {
    std::string_view length;
    std::string_view line;
  };
  // Takes the number behind the first byte of the line at position_.
  Scan take_number(std::string_view bytes, LineName name, std::int64_t& number);

  // The end of the line that starts at position_, found from where the last search stopped.
  std::optional<std::size_t> find_in_line(std::string_view bytes, char end);
  bool line_too_long(std::string_view bytes, std::optional<std::size_t> end) const noexcept;
  Scan complain(std::string complaint);

  std::size_t appetite(std::string_view input) const noexcept;
  Request finish(std::string_view bytes);
  void begin_request() noexcept;
  void drop_tail() noexcept;
  void release_excess() noexcept;

  static constexpr std::size_t no_bulk = SIZE_MAX;

  RequestLimits limits_;
  bool authenticated_ = false;
  std::string complaint_;

  // The unfinished request, or the whole one that was given out last.
  std::string tail_;
  bool tail_whole_ = false;

  // How far the present request has been read.
  std::size_t position_ = 0;         // Everything before it has been understood.
  std::size_t searched_ = 0;         // No end of line lies between position_ and this.
  std::size_t arguments_left_ = 0;   // 0 before the count has been read.
  std::size_t bulk_size_ = no_bulk;  // Of the argument whose bytes begin at position_.
  bool is_inline_ = false;
  std::vector<Extent> extents_;  // Of the arguments so far, in the request's bytes.
  std::string inline_text_;      // What the extents of an inline request lie in.
  std::vector<std::string_view> arguments_;
};

}  // namespace meridian::resp
