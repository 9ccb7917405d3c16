#include "wire/jose/jws.h"

#include "base/escape.h"
#include "wire/jose/base64url.h"
#include "wire/jose/jwks.h"
#include "wire/json/reader.h"
#include "wire/json/writer.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>

namespace meridian::jose {
namespace {

// Members that bring a key along, point to one, or change how the rest is read.
constexpr std::array<std::string_view, 6> refused_members{
    "crit", "b64", "jku", "jwk", "x5u", "x5c"};

struct Parts {
  std::string_view header;
  std::string_view payload;
  std::string_view signature;
  std::string_view signing_input;
};

Result<Parts> split(std::string_view token) {
  if (token.size() > token_size_max) {
    return fail(Errc::exhausted,
                fmt::format("the token has {} bytes; at most {}", token.size(), token_size_max));
  }
  const std::size_t first = token.find('.');
  const std::size_t second = first == std::string_view::npos ? first : token.find('.', first + 1);
  if (second == std::string_view::npos || token.find('.', second + 1) != std::string_view::npos) {
    return fail(Errc::invalid, "the token is not three parts joined by dots");
  }
  return Parts{.header = token.substr(0, first),
               .payload = token.substr(first + 1, second - first - 1),
               .signature = token.substr(second + 1),
               .signing_input = token.substr(0, second)};
}

Result<std::string> decode(std::string_view part, std::string_view name) {
  auto bytes = from_base64url(part);
  if (!bytes) return fail_while(fmt::format("the token's {}", name), bytes.error());
  return bytes;
}

bool equal_without_case(std::string_view a, std::string_view b) noexcept {
  return std::ranges::equal(a, b, [](char x, char y) {
    const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
    return lower(x) == lower(y);
  });
}

// A type that says that this is something else, such as a logout token, is not an identity
// (RFC 8725, section 3.11).
Result<void> check_type(const json::Value& header) {
  if (!header.find("typ")) return {};
  MERIDIAN_TRY(std::string_view type, header.string_at("typ"));
  constexpr std::string_view prefix = "application/";
  if (type.size() > prefix.size() && equal_without_case(type.substr(0, prefix.size()), prefix)) {
    type.remove_prefix(prefix.size());
  }
  for (const std::string_view known : {"JWT", "at+jwt", "JOSE"}) {
    if (equal_without_case(type, known)) return {};
  }
  return fail(Errc::invalid,
              fmt::format("the token's type is {}; JWT or at+jwt is accepted", quote(type, 32)));
}

}  // namespace

Result<Jws> parse_jws(std::string_view token) {
  MERIDIAN_TRY(const Parts parts, split(token));
  MERIDIAN_TRY(const std::string header_text, decode(parts.header, "header"));
  auto header = json::parse(header_text, {.size_max = token_size_max});
  if (!header) return fail_while("the token's header", header.error());
  if (!header->object()) return fail(Errc::invalid, "the token's header is not a JSON object");
  for (const std::string_view name : refused_members) {
    if (header->find(name)) {
      return fail(Errc::invalid,
                  fmt::format("the token's header has \"{}\", which is refused", name));
    }
  }
  MERIDIAN_CHECK(check_type(*header));

  auto algorithm_name = header->string_at("alg");
  if (!algorithm_name) return fail_while("the token's header", algorithm_name.error());
  const auto algorithm = parse_algorithm(*algorithm_name);
  if (!algorithm) {
    return fail(Errc::invalid,
                fmt::format("the token's algorithm {} is not accepted; RS256, RS384, RS512, PS256, "
                            "ES256, ES384 and EdDSA are",
                            quote(*algorithm_name, 32)));
  }
  auto kid = header->string_at("kid");
  if (!kid) return fail_while("the token's header", kid.error());
  if (kid->empty() || kid->size() > kid_size_max) {
    return fail(
        Errc::invalid,
        fmt::format(
            "the token's kid has {} bytes; from 1 to {} are accepted", kid->size(), kid_size_max));
  }
  MERIDIAN_TRY(std::string payload, decode(parts.payload, "payload"));
  MERIDIAN_TRY(std::string signature, decode(parts.signature, "signature"));
  return Jws{.algorithm = *algorithm,
             .kid = std::string(*kid),
             .payload = std::move(payload),
             .signature = std::move(signature),
             .signing_input = parts.signing_input};
}

Result<void> verify(const Jws& jws, const PublicKey& key) {
  if (jws.algorithm != key.algorithm()) {
    return fail(Errc::invalid,
                fmt::format("the token's algorithm is {}; its key is for {} alone",
                            to_string(jws.algorithm),
                            to_string(key.algorithm())));
  }
  if (!key.verify(jws.signing_input, jws.signature)) {
    return fail(Errc::invalid, "the token's signature is wrong");
  }
  return {};
}

std::string sign_jws(std::string_view payload, const SigningKey& key) {
  json::Writer header;
  header.begin_object()
      .member("alg", to_string(key.public_key().algorithm()))
      .member("kid", key.kid())
      .member("typ", "JWT")
      .end_object();
  std::string token = to_base64url(header.take()) + '.' + to_base64url(payload);
  const std::string signature = key.sign(token);
  return token + '.' + to_base64url(signature);
}

}  // namespace meridian::jose
