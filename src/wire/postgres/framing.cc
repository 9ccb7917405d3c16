#include "wire/postgres/framing.h"

#include "base/escape.h"

#include <fmt/format.h>
#include <initializer_list>

namespace meridian::postgres {
namespace {

constexpr std::uint32_t length_field_bytes = 4;

// Which limit caps the body; `fixed` is for messages whose shape alone bounds them.
enum class Cap : std::uint8_t { fixed, small, password, buffered, streamed };

struct Shape {
  char type;
  Cap cap;
  std::uint32_t body_min;
  std::uint32_t body_max = 0;  // For Cap::fixed.
};

template <class Type>
constexpr Shape shape(Type type,
                      Cap cap,
                      std::uint32_t body_min,
                      std::uint32_t body_max = 0) noexcept {
  return {static_cast<char>(type), cap, body_min, body_max};
}

// The smallest bodies follow from the fields of each message: an empty text is one byte (its NUL),
// counts are two, sizes and OIDs four (protocol documentation, "Message Formats").
constexpr std::initializer_list<Shape> frontend_shapes = {
    shape(FrontendType::bind, Cap::streamed, 1 + 1 + 2 + 2 + 2),
    shape(FrontendType::close, Cap::small, 1 + 1),
    shape(FrontendType::copy_data, Cap::streamed, 0),
    shape(FrontendType::copy_done, Cap::fixed, 0, 0),
    shape(FrontendType::copy_fail, Cap::small, 1),
    shape(FrontendType::describe, Cap::small, 1 + 1),
    shape(FrontendType::execute, Cap::small, 1 + 4),
    shape(FrontendType::flush, Cap::fixed, 0, 0),
    shape(FrontendType::function_call, Cap::buffered, 4 + 2 + 2 + 2),
    shape(FrontendType::parse, Cap::buffered, 1 + 1 + 2),
    shape(FrontendType::password, Cap::password, 0),
    shape(FrontendType::query, Cap::buffered, 1),
    shape(FrontendType::sync, Cap::fixed, 0, 0),
    shape(FrontendType::terminate, Cap::fixed, 0, 0),
};

// Keys of protocol 3.2 have 4 to 256 bytes; a count of columns is at most 32,767.
constexpr std::initializer_list<Shape> backend_shapes = {
    shape(BackendType::authentication, Cap::small, 4),
    shape(BackendType::backend_key_data, Cap::fixed, 4 + 4, 4 + 256),
    shape(BackendType::bind_complete, Cap::fixed, 0, 0),
    shape(BackendType::close_complete, Cap::fixed, 0, 0),
    shape(BackendType::command_complete, Cap::small, 1),
    shape(BackendType::copy_both_response, Cap::fixed, 1 + 2, 1 + 2 + 2 * 32'767),
    shape(BackendType::copy_data, Cap::streamed, 0),
    shape(BackendType::copy_done, Cap::fixed, 0, 0),
    shape(BackendType::copy_in_response, Cap::fixed, 1 + 2, 1 + 2 + 2 * 32'767),
    shape(BackendType::copy_out_response, Cap::fixed, 1 + 2, 1 + 2 + 2 * 32'767),
    shape(BackendType::data_row, Cap::streamed, 2),
    shape(BackendType::empty_query_response, Cap::fixed, 0, 0),
    shape(BackendType::error_response, Cap::buffered, 1),
    shape(BackendType::function_call_response, Cap::streamed, 4),
    shape(BackendType::negotiate_protocol_version, Cap::small, 4 + 4),
    shape(BackendType::no_data, Cap::fixed, 0, 0),
    shape(BackendType::notice_response, Cap::buffered, 1),
    shape(BackendType::notification_response, Cap::small, 4 + 1 + 1),
    shape(BackendType::parameter_description, Cap::fixed, 2, 2 + 4 * 65'535),
    shape(BackendType::parameter_status, Cap::small, 1 + 1),
    shape(BackendType::parse_complete, Cap::fixed, 0, 0),
    shape(BackendType::portal_suspended, Cap::fixed, 0, 0),
    shape(BackendType::ready_for_query, Cap::fixed, 1, 1),
    shape(BackendType::row_description, Cap::buffered, 2),
};

FramingRules::Rule make_rule(const Shape& shape, const FramingLimits& limits) noexcept {
  FramingRules::Rule rule;
  rule.length_min = length_field_bytes + shape.body_min;
  switch (shape.cap) {
    case Cap::fixed:
      rule.length_max = length_field_bytes + shape.body_max;
      rule.limit = "the protocol's maximum";
      break;
    case Cap::small:
      rule.length_max = limits.small_bytes_max;
      rule.limit = "small_bytes_max";
      break;
    case Cap::password:
      rule.length_max = limits.password_bytes_max;
      rule.limit = "password_bytes_max";
      break;
    case Cap::buffered:
      rule.length_max = limits.buffered_bytes_max;
      rule.limit = "buffered_bytes_max";
      break;
    case Cap::streamed:
      rule.length_max = limits.message_bytes_max;
      rule.limit = "message_bytes_max";
      rule.streamable = true;
      break;
  }
  return rule;
}

std::string_view name_of(Sender sender) noexcept {
  return sender == Sender::frontend ? "frontend" : "backend";
}

}  // namespace

FramingRules::FramingRules(Sender sender, const FramingLimits& limits) : sender_(sender) {
  MERIDIAN_ASSERT(
      limits.message_bytes_max <= length_limit && limits.buffered_bytes_max <= length_limit &&
      limits.password_bytes_max <= length_limit && limits.small_bytes_max <= length_limit);
  for (const Shape& shape : sender == Sender::frontend ? frontend_shapes : backend_shapes)
    rules_[static_cast<unsigned char>(shape.type)] = make_rule(shape, limits);
}

Error Framer::refusal(std::string_view bytes) const {
  MERIDIAN_ASSERT(bytes.size() >= header_bytes);
  const std::string_view sender = name_of(rules_->sender());
  const std::string type = quote(bytes.substr(0, 1));
  const auto length = load_big_endian<std::uint32_t>(bytes.data() + 1);
  const FramingRules::Rule& rule = (*rules_)[bytes[0]];
  if (!rule.limit) {
    return Error(Errc::invalid, fmt::format("{} is no type of a {} message", type, sender));
  }
  if (length < rule.length_min) {
    return Error(Errc::invalid,
                 fmt::format("{} message {} says it has {} bytes; at least {} are needed",
                             sender,
                             type,
                             length,
                             rule.length_min));
  }
  return Error(Errc::invalid,
               fmt::format("{} message {} of {} bytes exceeds {}={}",
                           sender,
                           type,
                           length,
                           rule.limit,
                           rule.length_max));
}

}  // namespace meridian::postgres
