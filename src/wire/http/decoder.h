#pragma once
// Reads HTTP/1.1 requests out of bytes (RFC 9112), strictly: whatever two readers might frame
// differently is refused, so that nobody smuggles a request inside another. Does no I/O.
//
// Strictness beyond the specification: one form of target ("/..." and "OPTIONS *"), no chunk
// extensions, no empty lines before a request. Clients of ours send none of it.

#include "base/result.h"
#include "wire/http/message.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace meridian::http {

// Sizes are in bytes and include the line ends.
struct RequestLimits {
  std::size_t line_size_max = 8'192;      // The request line.
  std::size_t headers_size_max = 16'384;  // All headers and trailers together.
  std::size_t headers_count_max = 100;
  std::size_t body_size_max = 1'048'576;
};

class RequestDecoder {
 public:
  explicit RequestDecoder(RequestLimits limits = {})
      : limits_(limits), body_max_(limits.body_size_max) {}

  // Takes a first part of `bytes` and returns its size. It stops where the head ends and where the
  // request ends, so the caller looks at both and then feeds the rest. Errors: invalid or
  // exhausted; the connection is good for answering refusal_status() and closing then. What comes
  // out does not depend on how the bytes were split.
  Result<std::size_t> feed(std::string_view bytes);

  // Method, target and headers are there; the body perhaps not.
  bool head_complete() const noexcept { return state_ >= State::body && state_ != State::refused; }
  bool complete() const noexcept { return state_ == State::complete; }

  // Requires head_complete().
  const Request& request() const noexcept { return request_; }

  // A lower bound for the body of this request alone. Requires head_complete(). Errors: exhausted.
  Result<void> limit_body(std::size_t body_size_max);

  // The request; the decoder begins the next one. Requires complete().
  Request take();

  // Something of a request has been read, but not all.
  bool in_request() const noexcept { return state_ != State::line || !line_.empty(); }

  // After an error: the status that says so to the client.
  int refusal_status() const noexcept { return refusal_status_; }

 private:
  enum class State : std::uint8_t {
    line,
    headers,
    body,  // Content-Length; remaining_ bytes are to come.
    chunk_size,
    chunk,
    chunk_end,
    trailers,
    complete,
    refused,
  };

  std::unexpected<Error> refuse(int status, std::string detail);
  Result<std::size_t> feed_line(std::string_view bytes);
  Result<std::size_t> feed_body(std::string_view bytes);
  std::size_t line_size_max() const noexcept;
  Result<void> on_line(std::string_view line);
  Result<void> on_request_line(std::string_view line);
  Result<void> on_header(std::string_view line);
  Result<void> on_head_end();
  Result<void> on_chunk_size(std::string_view line);
  Result<void> check_framing();
  Result<void> check_host();
  Result<void> read_connection();
  std::size_t count_of(std::string_view name) const noexcept;

  RequestLimits limits_;
  State state_ = State::line;
  std::string line_;  // The unfinished line.
  std::size_t headers_size_ = 0;
  std::size_t headers_count_ = 0;
  bool version_1_0_ = false;
  bool chunked_ = false;
  std::size_t body_max_;
  std::uint64_t remaining_ = 0;  // Of the body or the chunk.
  Request request_;
  int refusal_status_ = 0;
};

}  // namespace meridian::http
