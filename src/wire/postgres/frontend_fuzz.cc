// Any body of a client's message: what is taken is written again to the same bytes. The first byte
// is the type of the message.

#include "base/assert.h"
#include "wire/postgres/framing.h"
#include "wire/postgres/frontend.h"
#include "wire/postgres/frontend_writer.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

using namespace meridian::postgres;

namespace {

void check_same(std::string_view body, const std::string& message) {
  MERIDIAN_ASSERT(std::string_view(message).substr(header_bytes) == body);
}

std::size_t touch(const Values& values) {
  std::size_t size = 0;
  std::size_t count = 0;
  for (const Value& value : values) {
    ++count;
    for (const char c : value.value_or(std::string_view()))
      size += static_cast<unsigned char>(c);
  }
  MERIDIAN_ASSERT(count == values.size());
  return size;
}

void check_bind(std::string_view body) {
  const auto head = parse_bind_head(body);
  const auto bind = parse_bind(body);
  if (!bind) return;
  (void)touch(bind->parameters);
  if (!head || !*head) return;  // Its names are longer than a relay takes.
  MERIDIAN_ASSERT((*head)->portal == bind->portal && (*head)->statement == bind->statement);
  const std::string_view rest = body.substr((*head)->size);
  std::string again;
  append_bind_head(again, bind->portal, bind->statement, rest.size());
  check_same(body, again + std::string(rest));
}

void check_parse(std::string_view body) {
  const auto parse = parse_parse(body);
  if (!parse) return;
  std::vector<std::uint32_t> types;
  for (std::size_t i = 0; i < parse->parameter_types.size(); ++i)
    types.push_back(parse->parameter_types[i]);
  std::string again;
  append_parse(again, parse->statement, parse->sql, types);
  check_same(body, again);
}

// Writes the message once more if `parsed` holds one.
template <class Parsed, class Append>
void check(std::string_view body, const Parsed& parsed, Append append) {
  if (!parsed) return;
  std::string again;
  append(again, *parsed);
  check_same(body, again);
}

void check_body(char type, std::string_view body) {
  switch (static_cast<FrontendType>(type)) {
    case FrontendType::bind:
      return check_bind(body);
    case FrontendType::parse:
      return check_parse(body);
    case FrontendType::query:
      return check(body, parse_query(body), [](std::string& out, const Query& message) {
        append_query(out, message.sql);
      });
    case FrontendType::describe:
      return check(body, parse_describe(body), [](std::string& out, const Describe& message) {
        append_describe(out, message.target, message.name);
      });
    case FrontendType::close:
      return check(body, parse_close(body), [](std::string& out, const Close& message) {
        append_close(out, message.target, message.name);
      });
    case FrontendType::execute:
      return check(body, parse_execute(body), [](std::string& out, const Execute& message) {
        append_execute(out, message.portal, message.rows_max);
      });
    case FrontendType::copy_fail:
      return check(body, parse_copy_fail(body), [](std::string& out, const CopyFail& message) {
        append_copy_fail(out, message.reason);
      });
    case FrontendType::function_call:
      if (const auto call = parse_function_call(body)) (void)touch(call->arguments);
      return;
    case FrontendType::password:
      check(body, parse_password(body), [](std::string& out, const PasswordMessage& message) {
        append_password(out, message.password);
      });
      return check(body,
                   parse_sasl_initial_response(body),
                   [](std::string& out, const SaslInitialResponse& message) {
                     append_sasl_initial_response(out, message.mechanism, message.response);
                   });
    case FrontendType::copy_data:
    case FrontendType::copy_done:
    case FrontendType::flush:
    case FrontendType::sync:
    case FrontendType::terminate:
      return;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  check_body(static_cast<char>(data[0]),
             std::string_view(reinterpret_cast<const char*>(data) + 1, size - 1));
  return 0;
}
