#include "wire/resp/request_decoder.h"

#include "base/assert.h"
#include "wire/resp/protocol.h"
#include "wire/resp/usual_length.h"

#include <algorithm>
#include <limits>

namespace meridian::resp {
namespace {

// What a decoder keeps between two requests: more is given back, so that one big request does not
// stay with an idle connection.
constexpr std::size_t kept_bytes_max = 1'024;
constexpr std::size_t kept_arguments_max = 128;

// The argument's CR LF.
constexpr std::size_t line_end_size = 2;

// redis-server prints the byte itself, and a blank for what would break the reply's line.
std::string expected_bulk(char got) {
  const bool breaks_line = got == '\r' || got == '\n' || got == '\0';
  return std::string("expected '$', got '") + (breaks_line ? ' ' : got) + "'";
}

}  // namespace

Result<std::optional<Request>> RequestDecoder::next(std::string_view& input) {
  if (tail_whole_) drop_tail();
  release_excess();
  while (!input.empty()) {
    Scan scanned;
    if (tail_.empty()) {
      if (const std::size_t size = take_usual(input); size != 0) {
        const std::string_view bytes = input.substr(0, size);
        input.remove_prefix(size);
        return Request{.arguments = arguments_, .bytes = bytes, .is_inline = false};
      }
      begin_request();
      scanned = scan(input);
      if (scanned == Scan::whole) {
        const std::string_view bytes = input.substr(0, position_);
        input.remove_prefix(position_);
        if (!extents_.empty()) return finish(bytes);
      } else if (scanned == Scan::partial) {
        tail_.assign(input);
        input = {};
      }
    } else {
      const std::size_t taken = appetite(input);
      tail_.append(input.substr(0, taken));
      input.remove_prefix(taken);
      scanned = scan(tail_);
      if (scanned == Scan::whole) {
        MERIDIAN_ASSERT(position_ == tail_.size());
        tail_whole_ = true;
        if (!extents_.empty()) return finish(tail_);
        drop_tail();
      }
    }
    if (scanned == Scan::broken) return fail(Errc::invalid, "Protocol error: " + complaint_);
  }
  return std::nullopt;
}

std::size_t RequestDecoder::take_usual(std::string_view bytes) {
  constexpr std::size_t arguments_usual_max = 64;
  const char* const end = bytes.data() + bytes.size();
  const UsualLength count = usual_length(bytes.data(), end, '*');
  if (!count.end || count.value == 0 || count.value > arguments_usual_max) return 0;
  const std::size_t arguments_count_max =
      authenticated_ ? limits_.arguments_max : limits_.unauthenticated_arguments_max;
  const std::size_t argument_size_max =
      authenticated_ ? limits_.request_bytes_max : limits_.unauthenticated_argument_bytes_max;
  if (count.value > arguments_count_max || bytes.size() > limits_.request_bytes_max) return 0;
  arguments_.resize(count.value);
  const char* at = count.end;
  for (std::string_view& argument : arguments_) {
    const UsualLength size = usual_length(at, end, '$');
    if (!size.end || size.value > argument_size_max) return 0;
    at = size.end;
    if (static_cast<std::size_t>(end - at) < size.value + line_end_size) return 0;
    argument = {at, size.value};
    at += size.value;
    if (at[0] != '\r' || at[1] != '\n') return 0;
    at += line_end_size;
  }
  return static_cast<std::size_t>(at - bytes.data());
}

void RequestDecoder::begin_request() noexcept {
  position_ = searched_ = 0;
  arguments_left_ = 0;
  bulk_size_ = no_bulk;
  extents_.clear();
}

void RequestDecoder::drop_tail() noexcept {
  tail_whole_ = false;
  tail_.clear();
  if (tail_.capacity() > kept_bytes_max) tail_.shrink_to_fit();
}

// What the request before needed and hardly another one will.
void RequestDecoder::release_excess() noexcept {
  if (inline_text_.capacity() > kept_bytes_max) inline_text_ = {};
  if (arguments_.capacity() > kept_arguments_max) arguments_ = {};
  if (tail_.empty() && extents_.capacity() > kept_arguments_max) extents_ = {};
}

Request RequestDecoder::finish(std::string_view bytes) {
  const std::string_view base = is_inline_ ? std::string_view(inline_text_) : bytes;
  arguments_.clear();
  for (const Extent& extent : extents_)
    arguments_.push_back(base.substr(extent.offset, extent.size));
  return {.arguments = arguments_, .bytes = bytes, .is_inline = is_inline_};
}

// How much of `input` certainly belongs to the present request: what is missing of a bulk string,
// or up to the end of a line.
std::size_t RequestDecoder::appetite(std::string_view input) const noexcept {
  if (bulk_size_ != no_bulk) {
    return std::min(input.size(), bulk_size_ + line_end_size - (tail_.size() - position_));
  }
  const std::size_t end = input.find('\n');
  return end == std::string_view::npos ? input.size() : end + 1;
}

RequestDecoder::Scan RequestDecoder::scan(std::string_view bytes) {
  is_inline_ = bytes.front() != '*';
  return is_inline_ ? scan_inline(bytes) : scan_multibulk(bytes);
}

std::optional<std::size_t> RequestDecoder::find_in_line(std::string_view bytes, char end) {
  const std::size_t found = bytes.find(end, std::max(searched_, position_));
  if (found != std::string_view::npos) return found;
  searched_ = bytes.size();
  return std::nullopt;
}

bool RequestDecoder::line_too_long(std::string_view bytes,
                                   std::optional<std::size_t> end) const noexcept {
  return end.value_or(bytes.size()) - position_ > limits_.line_bytes_max;
}

RequestDecoder::Scan RequestDecoder::scan_inline(std::string_view bytes) {
  const std::optional<std::size_t> end = find_in_line(bytes, '\n');
  if (line_too_long(bytes, end)) return complain("too big inline request");
  if (!end) return Scan::partial;
  std::string_view line = bytes.substr(0, *end);
  if (line.ends_with('\r')) line.remove_suffix(1);
  // redis-server takes a NUL for the end of all it has read, and waits for ever.
  if (line.contains('\0')) return complain("NUL byte in inline request");
  if (!split_inline(line, inline_text_, extents_)) {
    return complain("unbalanced quotes in request");
  }
  position_ = *end + 1;
  return Scan::whole;
}

RequestDecoder::Scan RequestDecoder::scan_multibulk(std::string_view bytes) {
  if (arguments_left_ == 0) {
    if (const Scan count = take_count(bytes); count != Scan::whole) return count;
  }
  while (arguments_left_ > 0) {
    if (bulk_size_ == no_bulk) {
      if (const Scan size = take_size(bytes); size != Scan::whole) return size;
    }
    if (bytes.size() - position_ < bulk_size_ + line_end_size) return Scan::partial;
    extents_.push_back({.offset = position_, .size = bulk_size_});
    position_ += bulk_size_;
    if (bytes[position_] != '\r' || bytes[position_ + 1] != '\n') {
      return complain("expected CR LF after a bulk string of " + std::to_string(bulk_size_) +
                      " bytes");
    }
    position_ += line_end_size;
    bulk_size_ = no_bulk;
    --arguments_left_;
  }
  return Scan::whole;
}

RequestDecoder::Scan RequestDecoder::complain(std::string complaint) {
  complaint_ = std::move(complaint);
  return Scan::broken;
}

RequestDecoder::Scan RequestDecoder::take_number(std::string_view bytes,
                                                 LineName name,
                                                 std::int64_t& number) {
  const std::optional<std::size_t> end = find_in_line(bytes, '\r');
  if (line_too_long(bytes, end)) {
    return complain("too big " + std::string(name.line) + " count string");
  }
  if (!end || *end + 1 == bytes.size()) {
    searched_ = end.value_or(searched_);
    return Scan::partial;
  }
  const std::optional<std::int64_t> parsed =
      parse_integer(bytes.substr(position_ + 1, *end - position_ - 1));
  if (!parsed || bytes[*end + 1] != '\n') {
    return complain("invalid " + std::string(name.length) + " length");
  }
  number = *parsed;
  position_ = *end + line_end_size;
  return Scan::whole;
}

RequestDecoder::Scan RequestDecoder::take_count(std::string_view bytes) {
  std::int64_t count = 0;
  const Scan scanned = take_number(bytes, {.length = "multibulk", .line = "mbulk"}, count);
  if (scanned != Scan::whole || count <= 0) return scanned;
  const auto arguments_count = static_cast<std::uint64_t>(count);
  if (arguments_count > std::numeric_limits<std::int32_t>::max()) {
    return complain("invalid multibulk length");
  }
  if (!authenticated_ && arguments_count > limits_.unauthenticated_arguments_max) {
    return complain("unauthenticated multibulk length");
  }
  if (arguments_count > limits_.arguments_max) {
    return complain("invalid multibulk length: " + std::to_string(arguments_count) +
                    " arguments exceed arguments_max=" + std::to_string(limits_.arguments_max));
  }
  arguments_left_ = arguments_count;
  return Scan::whole;
}

RequestDecoder::Scan RequestDecoder::take_size(std::string_view bytes) {
  if (position_ == bytes.size()) return Scan::partial;
  if (bytes[position_] != '$') return complain(expected_bulk(bytes[position_]));
  std::int64_t size = 0;
  const Scan scanned = take_number(bytes, {.length = "bulk", .line = "bulk"}, size);
  if (scanned != Scan::whole) return scanned;
  if (size < 0) return complain("invalid bulk length");
  const auto bulk_size = static_cast<std::uint64_t>(size);
  if (!authenticated_ && bulk_size > limits_.unauthenticated_argument_bytes_max) {
    return complain("unauthenticated bulk length");
  }
  if (position_ > limits_.request_bytes_max || bulk_size > limits_.request_bytes_max - position_) {
    return complain("invalid bulk length: an argument of " + std::to_string(bulk_size) +
                    " bytes makes the request exceed request_bytes_max=" +
                    std::to_string(limits_.request_bytes_max));
  }
  bulk_size_ = bulk_size;
  return Scan::whole;
}

}  // namespace meridian::resp
