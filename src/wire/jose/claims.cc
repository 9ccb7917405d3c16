#include "wire/jose/claims.h"

#include "wire/jose/jws.h"
#include "wire/json/reader.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fmt/format.h>

namespace meridian::jose {
namespace {

// In the year 2255: whoever counts in nanoseconds must not run out of 64 bits.
constexpr double date_max = 9'000'000'000;

Result<std::string> check_text(std::string_view name, std::optional<std::string_view> text) {
  if (!text) return fail(Errc::invalid, fmt::format("the claim {} is not a string", name));
  if (text->empty() || text->size() > claim_size_max) {
    return fail(Errc::invalid,
                fmt::format("the claim {} has {} bytes; from 1 to {} are accepted",
                            name,
                            text->size(),
                            claim_size_max));
  }
  const bool has_control = std::ranges::any_of(
      *text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
  if (has_control) {
    return fail(Errc::invalid, fmt::format("the claim {} has control characters", name));
  }
  return std::string(*text);
}

Result<std::string> text_at(const json::Value& claims, std::string_view name) {
  const json::Value* const value = claims.find(name);
  if (!value) return fail(Errc::invalid, fmt::format("the claim {} is missing", name));
  return check_text(name, value->string());
}

// A NumericDate (RFC 7519, section 2): seconds since 1970, perhaps with a fraction.
Result<std::optional<WallTime>> date_at(const json::Value& claims, std::string_view name) {
  const json::Value* const value = claims.find(name);
  if (!value) return std::optional<WallTime>();
  const auto seconds = value->number();
  if (!seconds || !(*seconds >= 0 && *seconds <= date_max)) {
    return fail(
        Errc::invalid,
        fmt::format("the claim {} is not a date: seconds from 1970 to the year 2255", name));
  }
  if (const auto whole = value->integer()) return WallTime(std::chrono::seconds(*whole));
  const double micros = std::floor(*seconds * 1e6);
  return WallTime(std::chrono::microseconds(static_cast<std::int64_t>(micros)));
}

Result<std::vector<std::string>> audiences_of(const json::Value& claims) {
  const json::Value* const value = claims.find("aud");
  if (!value) return fail(Errc::invalid, "the claim aud is missing");
  std::vector<std::string> audiences;
  const json::Value::Array* const list = value->array();
  if (!list) {
    MERIDIAN_TRY(std::string only, check_text("aud", value->string()));
    audiences.push_back(std::move(only));
    return audiences;
  }
  if (list->empty() || list->size() > audiences_max) {
    return fail(Errc::invalid,
                fmt::format("the claim aud lists {} audiences; from 1 to {} are accepted",
                            list->size(),
                            audiences_max));
  }
  for (const json::Value& item : *list) {
    MERIDIAN_TRY(std::string audience, check_text("aud", item.string()));
    audiences.push_back(std::move(audience));
  }
  return audiences;
}

}  // namespace

Result<Claims> parse_claims(std::string_view payload) {
  auto parsed = json::parse(payload, {.size_max = token_size_max});
  if (!parsed) return fail_while("the token's claims", parsed.error());
  const auto all = std::make_shared<const json::Value>(*std::move(parsed));
  if (!all->object()) return fail(Errc::invalid, "the token's claims are not a JSON object");
  Claims claims;
  MERIDIAN_TRY(claims.issuer, text_at(*all, "iss"));
  MERIDIAN_TRY(claims.subject, text_at(*all, "sub"));
  MERIDIAN_TRY(claims.audiences, audiences_of(*all));
  MERIDIAN_TRY(const std::optional<WallTime> expires_at, date_at(*all, "exp"));
  if (!expires_at) return fail(Errc::invalid, "the claim exp is missing");
  claims.expires_at = *expires_at;
  MERIDIAN_TRY(claims.not_before, date_at(*all, "nbf"));
  MERIDIAN_TRY(claims.issued_at, date_at(*all, "iat"));
  if (all->find("jti")) {
    MERIDIAN_TRY(claims.token_id, text_at(*all, "jti"));
  }
  claims.all = all;
  return claims;
}

}  // namespace meridian::jose
