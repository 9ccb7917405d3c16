#pragma once
// The messages of a client, read from the body behind a checked header (wire/postgres/framing.h).
// Results are views of that body. Every parser refuses, as Errc::invalid, a body that is too short,
// has bytes left over, or has counts and lengths that do not fit it; a NUL inside a text ends it
// and so shows as bytes left over.

#include "base/result.h"
#include "wire/postgres/bytes.h"
#include "wire/postgres/values.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace meridian::postgres {

struct Query {
  std::string_view sql;
};
Result<Query> parse_query(std::string_view body);

struct Parse {
  std::string_view statement;  // Empty for the unnamed one.
  std::string_view sql;
  BigEndianArray<std::uint32_t> parameter_types;  // OIDs; 0 leaves one to the server.
};
Result<Parse> parse_parse(std::string_view body);

// What a relay needs to know of a Bind before it lets it pass.
struct BindHead {
  std::string_view portal;
  std::string_view statement;
  std::size_t size = 0;  // Bytes of the body that the two names take.
};

// From a first part of the body; nothing when the names are not complete yet. Errors: invalid when
// they cannot become so within names_bytes_max.
inline constexpr std::size_t names_bytes_max = 8 * 1024;
Result<std::optional<BindHead>> parse_bind_head(std::string_view body_start);

struct Bind {
  std::string_view portal;
  std::string_view statement;
  BigEndianArray<std::int16_t>
      parameter_formats;  // 0 text, 1 binary. None: all text; one: for all.
  Values parameters;
  BigEndianArray<std::int16_t> result_formats;  // As parameter_formats.
};
Result<Bind> parse_bind(std::string_view body);

enum class Target : char { statement = 'S', portal = 'P' };

struct Describe {
  Target target = Target::statement;
  std::string_view name;
};
Result<Describe> parse_describe(std::string_view body);

struct Close {
  Target target = Target::statement;
  std::string_view name;
};
Result<Close> parse_close(std::string_view body);

struct Execute {
  std::string_view portal;
  std::int32_t rows_max = 0;  // 0 or less: all.
};
Result<Execute> parse_execute(std::string_view body);

struct CopyFail {
  std::string_view reason;
};
Result<CopyFail> parse_copy_fail(std::string_view body);

// The password is a secret (often a token): put it into a Secret, wipe the buffer, log neither.
struct PasswordMessage {
  std::string_view password;
};
Result<PasswordMessage> parse_password(std::string_view body);

// The same letter as PasswordMessage, in answer to AuthenticationSASL. A SASLResponse is its whole
// body and needs no parser.
struct SaslInitialResponse {
  std::string_view mechanism;
  std::optional<std::string_view> response;  // A secret.
};
Result<SaslInitialResponse> parse_sasl_initial_response(std::string_view body);

struct FunctionCall {
  std::uint32_t function = 0;  // OID.
  BigEndianArray<std::int16_t> argument_formats;
  Values arguments;
  std::int16_t result_format = 0;
};
Result<FunctionCall> parse_function_call(std::string_view body);

}  // namespace meridian::postgres
