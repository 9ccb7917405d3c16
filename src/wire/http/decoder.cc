#include "wire/http/decoder.h"

#include "base/assert.h"
#include "base/escape.h"
#include "base/number.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>

namespace meridian::http {
namespace {

// 16 hex digits and the line end.
constexpr std::size_t chunk_line_size_max = 18;

// Headers of which a second one would let two readers disagree.
constexpr std::array<std::string_view, 5> single_headers{
    "host", "content-length", "transfer-encoding", "authorization", "content-type"};

constexpr std::string_view token_marks = "!#$%&'*+-.^_`|~";

bool is_letter_or_digit(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

// RFC 9110, section 5.6.2.
bool is_token(std::string_view text) noexcept {
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return is_letter_or_digit(c) || token_marks.contains(c);
  });
}

// RFC 9110, section 5.5: no control characters but the tab.
bool is_field_value(std::string_view text) noexcept {
  return std::ranges::all_of(text, [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return c == '\t' || (byte >= 0x20 && byte != 0x7f);
  });
}

std::string_view trim(std::string_view text) noexcept {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t'))
    text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t'))
    text.remove_suffix(1);
  return text;
}

// Whether a comma-separated list has this token.
bool lists(std::string_view list, std::string_view token) noexcept {
  for (;;) {
    const std::size_t comma = list.find(',');
    if (equal_without_case(trim(list.substr(0, comma)), token)) return true;
    if (comma == std::string_view::npos) return false;
    list.remove_prefix(comma + 1);
  }
}

}  // namespace

std::unexpected<Error> RequestDecoder::refuse(int status, std::string detail) {
  state_ = State::refused;
  refusal_status_ = status;
  const bool too_much = status == 413 || status == 414 || status == 431;
  return fail(too_much ? Errc::exhausted : Errc::invalid, std::move(detail));
}

Result<std::size_t> RequestDecoder::feed(std::string_view bytes) {
  std::size_t taken = 0;
  while (taken < bytes.size() && state_ != State::complete) {
    const bool head_was_complete = head_complete();
    const std::string_view rest = bytes.substr(taken);
    const bool in_data = state_ == State::body || state_ == State::chunk;
    MERIDIAN_TRY(const std::size_t size, in_data ? feed_body(rest) : feed_line(rest));
    taken += size;
    if (head_complete() && !head_was_complete) break;
  }
  return taken;
}

std::size_t RequestDecoder::line_size_max() const noexcept {
  switch (state_) {
    case State::line:
      return limits_.line_size_max;
    case State::headers:
    case State::trailers:
      return limits_.headers_size_max - headers_size_;
    case State::chunk_size:
      return chunk_line_size_max;
    case State::chunk_end:
      return 2;
    case State::body:
    case State::chunk:
    case State::complete:
    case State::refused:
      break;
  }
  return 0;
}

Result<std::size_t> RequestDecoder::feed_line(std::string_view bytes) {
  if (state_ == State::refused) {
    return fail(Errc::invalid, "the request before this was refused");
  }
  const std::size_t size_max = line_size_max();
  const std::size_t end = bytes.find('\n');
  const bool too_long = end == std::string_view::npos ? bytes.size() >= size_max - line_.size()
                                                      : end >= size_max - line_.size();
  if (too_long) {
    switch (state_) {
      case State::line:
        return refuse(414, fmt::format("the request line is longer than {} bytes", size_max));
      case State::headers:
      case State::trailers:
        return refuse(
            431, fmt::format("the headers are larger than {} bytes", limits_.headers_size_max));
      case State::body:
      case State::chunk_size:
      case State::chunk:
      case State::chunk_end:
      case State::complete:
      case State::refused:
        break;
    }
    return refuse(400, "a chunk does not begin and end as it should");
  }
  if (end == std::string_view::npos) {
    line_ += bytes;
    return bytes.size();
  }
  line_ += bytes.substr(0, end + 1);
  if (state_ == State::headers || state_ == State::trailers) headers_size_ += line_.size();
  if (!line_.ends_with("\r\n") || line_.find('\r') != line_.size() - 2) {
    return refuse(400, "a line does not end in CR LF, or has another CR");
  }
  std::string line = std::move(line_);
  line_.clear();
  MERIDIAN_CHECK(on_line(std::string_view(line).substr(0, line.size() - 2)));
  return end + 1;
}

Result<std::size_t> RequestDecoder::feed_body(std::string_view bytes) {
  const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), remaining_));
  request_.body += bytes.substr(0, size);
  remaining_ -= size;
  if (remaining_ == 0) state_ = state_ == State::body ? State::complete : State::chunk_end;
  return size;
}

Result<void> RequestDecoder::on_line(std::string_view line) {
  switch (state_) {
    case State::line:
      return on_request_line(line);
    case State::headers:
      return line.empty() ? on_head_end() : on_header(line);
    case State::trailers:
      if (line.empty()) {
        state_ = State::complete;
        return {};
      }
      return on_header(line);
    case State::chunk_size:
      return on_chunk_size(line);
    case State::chunk_end:
      if (!line.empty()) return refuse(400, "a chunk is longer than its size");
      state_ = State::chunk_size;
      return {};
    case State::body:
    case State::chunk:
    case State::complete:
    case State::refused:
      break;
  }
  return refuse(400, "a line where none is due");
}

// RFC 9112, section 3: method, target and version with one space between them.
Result<void> RequestDecoder::on_request_line(std::string_view line) {
  const std::size_t first = line.find(' ');
  const std::size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) {
    return refuse(400, "the request line is not a method, a target and a version");
  }
  const std::string_view method = line.substr(0, first);
  const std::string_view target = line.substr(first + 1, last - first - 1);
  const std::string_view version = line.substr(last + 1);
  if (!is_token(method)) return refuse(400, "the method is not a token");
  if (version != "HTTP/1.1" && version != "HTTP/1.0") {
    if (!version.starts_with("HTTP/")) return refuse(400, "the request line names no version");
    return refuse(505, "the version is " + quote(version, 16) + "; HTTP/1.1 is spoken here");
  }
  const bool printable = std::ranges::all_of(target, [](char c) { return c > 0x20 && c < 0x7f; });
  const bool well_formed = target.starts_with('/') || (target == "*" && method == "OPTIONS");
  if (!printable || !well_formed || target.contains('#')) {
    return refuse(400, "the target is not a path with an optional query");
  }
  request_.method = method;
  request_.target = target;
  version_1_0_ = version == "HTTP/1.0";
  state_ = State::headers;
  return {};
}

Result<void> RequestDecoder::on_header(std::string_view line) {
  if (++headers_count_ > limits_.headers_count_max) {
    return refuse(431, fmt::format("there are more than {} headers", limits_.headers_count_max));
  }
  if (line.front() == ' ' || line.front() == '\t') {
    return refuse(400, "a header is folded over lines");
  }
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos || !is_token(line.substr(0, colon))) {
    return refuse(400, "a header is not a name, a colon and a value");
  }
  const std::string_view name = line.substr(0, colon);
  const std::string_view value = trim(line.substr(colon + 1));
  if (!is_field_value(value)) {
    return refuse(400, "the header " + quote(name, 64) + " has control characters");
  }
  if (state_ == State::trailers) return {};  // Read and dropped (RFC 9110, section 6.5.1).
  for (const std::string_view single : single_headers) {
    if (equal_without_case(name, single) && request_.header(name)) {
      return refuse(400, "the header " + quote(name, 64) + " comes twice");
    }
  }
  request_.headers.push_back({std::string(name), std::string(value)});
  return {};
}

Result<void> RequestDecoder::on_head_end() {
  MERIDIAN_CHECK(check_host());
  MERIDIAN_CHECK(read_connection());
  return check_framing();
}

// RFC 9112, section 3.2.
Result<void> RequestDecoder::check_host() {
  const auto host = request_.header("host");
  if (!host) {
    if (version_1_0_) return {};
    return refuse(400, "the header Host is missing");
  }
  const bool well_formed = !host->empty() && std::ranges::all_of(*host, [](char c) {
    return is_letter_or_digit(c) || std::string_view("-._:[]").contains(c);
  });
  if (!well_formed) return refuse(400, "the header Host is no host with an optional port");
  return {};
}

// RFC 9112, section 9.3, and RFC 9110, section 10.1.1.
Result<void> RequestDecoder::read_connection() {
  bool close = false;
  bool keep = false;
  for (const Header& header : request_.headers) {
    if (equal_without_case(header.name, "connection")) {
      close = close || lists(header.value, "close");
      keep = keep || lists(header.value, "keep-alive");
    } else if (equal_without_case(header.name, "expect")) {
      if (!equal_without_case(header.value, "100-continue")) {
        return refuse(417, "the expectation " + quote(header.value, 64) + " is not known");
      }
      request_.expects_continue = !version_1_0_;
    }
  }
  request_.keep_alive = !close && (!version_1_0_ || keep);
  return {};
}

// RFC 9112, section 6: how long the body is. There is exactly one answer or none.
Result<void> RequestDecoder::check_framing() {
  const auto encoding = request_.header("transfer-encoding");
  const auto length = request_.header("content-length");
  if (encoding) {
    if (length) return refuse(400, "both Transfer-Encoding and Content-Length are given");
    if (version_1_0_) return refuse(400, "HTTP/1.0 has no Transfer-Encoding");
    if (!equal_without_case(*encoding, "chunked")) {
      return refuse(501, "the transfer encoding " + quote(*encoding, 64) + " is not known");
    }
    chunked_ = true;
    state_ = State::chunk_size;
    return {};
  }
  if (length) {
    const auto size = parse_number<std::uint64_t>(*length);
    if (!size) return refuse(400, "Content-Length is not a number of bytes");
    remaining_ = *size;
  }
  state_ = remaining_ == 0 ? State::complete : State::body;
  return limit_body(body_max_);
}

Result<void> RequestDecoder::limit_body(std::size_t body_size_max) {
  MERIDIAN_ASSERT(head_complete());
  body_max_ = std::min(body_max_, body_size_max);
  if (!chunked_ && remaining_ > body_max_ - std::min(body_max_, request_.body.size())) {
    return refuse(
        413,
        fmt::format(
            "the body has {} bytes; at most {}", remaining_ + request_.body.size(), body_max_));
  }
  return {};
}

// RFC 9112, section 7.1.
Result<void> RequestDecoder::on_chunk_size(std::string_view line) {
  const auto size = parse_number<std::uint64_t>(line, 16);
  if (!size) return refuse(400, "a chunk does not begin with its size in hex digits");
  if (*size == 0) {
    state_ = State::trailers;
    return {};
  }
  if (request_.body.size() > body_max_ || *size > body_max_ - request_.body.size()) {
    return refuse(413, fmt::format("the body has more than {} bytes", body_max_));
  }
  remaining_ = *size;
  state_ = State::chunk;
  return {};
}

Request RequestDecoder::take() {
  MERIDIAN_ASSERT(complete());
  Request request = std::move(request_);
  *this = RequestDecoder(limits_);
  return request;
}

}  // namespace meridian::http
