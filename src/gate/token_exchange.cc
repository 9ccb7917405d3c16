#include "gate/token_exchange.h"

#include "base/escape.h"
#include "runtime/log.h"
#include "runtime/loop.h"
#include "wire/json/writer.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>

namespace meridian {
namespace {

constexpr std::string_view grant_type = "urn:ietf:params:oauth:grant-type:token-exchange";

// RFC 8693, section 3. A token of each of these types is a JWT of ours to read, and ours to make.
constexpr std::string_view type_jwt = "urn:ietf:params:oauth:token-type:jwt";
constexpr std::string_view type_access = "urn:ietf:params:oauth:token-type:access_token";
constexpr std::string_view type_id = "urn:ietf:params:oauth:token-type:id_token";

// RFC 6749, section 5.1: answers with tokens are kept by nobody.
http::Response answer(int status, std::string body) {
  return {.status = status,
          .headers = {{"Content-Type", "application/json"}, {"Cache-Control", "no-store"}},
          .body = std::move(body)};
}

http::Response refuse(int status, std::string_view code, std::string_view description) {
  json::Writer writer;
  writer.begin_object().member("error", code).member("error_description", description);
  return answer(status, writer.end_object().take());
}

// The trail's own trouble, logged where it is noticed.
Error unrecorded(const Error& error, RequestId request) {
  log_error("exchange",
            "the trail cannot record token exchanges, so they are refused",
            {{"request", request.to_string()}, {"error", error.detail()}});
  return Error(Errc::unavailable);
}

// What the client is told of a failure: nothing about tokens, bindings or keys.
http::Response refuse(const Error& error, RequestId request) {
  switch (error.code()) {
    case Errc::unavailable:
    case Errc::timeout:
    case Errc::cancelled:
      return refuse(503, "temporarily_unavailable", "try again later");
    case Errc::exhausted:
      return refuse(429, "temporarily_unavailable", "too many failed attempts; try again later");
    case Errc::unauthenticated:
    case Errc::denied:
    case Errc::not_found:
    case Errc::conflict:
    case Errc::invalid:
    case Errc::outcome_unknown:
      break;
  }
  // RFC 8693, section 2.2.2: the code for a subject token that is invalid, or unacceptable by
  // policy.
  return refuse(400,
                "invalid_request",
                fmt::format("the subject token was refused; the trail says why under request {}",
                            request.to_string()));
}

}  // namespace

// A well-formed request.
struct TokenExchange::Wish {
  Secret subject_token;
  std::string audience;
  std::string_view issued_type = type_access;
  bool scope_given = false;
};

namespace {

// RFC 8693, section 2.1. An empty value is an absent one (RFC 6749, section 3.2).
std::string_view value_of(const http::Parameters& form, std::string_view name) {
  return form.find(name).value_or(std::string_view());
}

// The answer to a form that is no good; empty for a good one.
std::optional<http::Response> check_form(const http::Parameters& form,
                                         const std::vector<std::string>& audiences) {
  const auto invalid = [](std::string_view description) {
    return refuse(400, "invalid_request", description);
  };
  if (value_of(form, "grant_type").empty()) return invalid("grant_type is missing");
  if (value_of(form, "grant_type") != grant_type) {
    return refuse(400, "unsupported_grant_type", fmt::format("only {} is supported", grant_type));
  }
  if (value_of(form, "subject_token").empty()) return invalid("subject_token is missing");
  const std::string_view given = value_of(form, "subject_token_type");
  if (given != type_jwt && given != type_access && given != type_id) {
    return invalid("subject_token_type must be that of a jwt, access_token or id_token");
  }
  if (!value_of(form, "actor_token").empty() || !value_of(form, "actor_token_type").empty()) {
    return invalid("actor_token is not supported");
  }
  const std::string_view wanted = value_of(form, "requested_token_type");
  if (!wanted.empty() && wanted != type_jwt && wanted != type_access) {
    return invalid("requested_token_type must be that of a jwt or access_token");
  }
  if (!value_of(form, "resource").empty()) {
    return refuse(400, "invalid_target", "resource is not supported; use audience");
  }
  const std::string_view audience = value_of(form, "audience");
  if (audience.empty()) return invalid("audience is missing");
  if (std::ranges::find(audiences, audience) == audiences.end()) {
    return refuse(400, "invalid_target", "tokens for this audience are not issued");
  }
  return std::nullopt;
}

// RFC 8693, section 2.2.1. No token of ours has a scope, and where one was asked for, that must be
// said.
http::Response issue(const MintedToken& minted,
                     std::string_view issued_type,
                     bool scope_given,
                     WallTime now) {
  const auto left = std::chrono::floor<std::chrono::seconds>(minted.expires_at - now);
  json::Writer writer;
  writer.begin_object().member("access_token", minted.token);
  writer.member("issued_token_type", issued_type).member("token_type", "Bearer");
  writer.name("expires_in").integer(std::max<std::int64_t>(left.count(), 0));
  if (scope_given) writer.member("scope", "");
  return answer(200, writer.end_object().take());
}

// Whose the first token was, for whoever verifies the second.
json::Value origin_of(const VerifiedToken& token) {
  return json::Value(json::Value::Object{{"iss", json::Value(token.issuer_url)},
                                         {"sub", json::Value(token.subject)},
                                         {"jti", json::Value(token.token_id)}});
}

}  // namespace

Result<std::shared_ptr<const ExchangePolicy>> ExchangePolicy::compile(
    const ExchangeConfig& config, std::span<const std::string> issuers) {
  auto policy = std::make_shared<ExchangePolicy>();
  for (std::size_t i = 0; i < config.bindings.size(); ++i) {
    const ExchangeBindingConfig& binding = config.bindings[i];
    const std::string what = fmt::format("exchange binding {}", i + 1);
    if (std::ranges::find(issuers, binding.issuer) == issuers.end()) {
      return fail(Errc::invalid,
                  fmt::format("{}: issuer {} is not configured", what, quote(binding.issuer)));
    }
    auto condition = Condition::compile(binding.issuer, binding.subject, binding.claims);
    if (!condition) return fail_while(what, condition.error());
    policy->bindings.push_back(
        {.condition = *std::move(condition), .new_subject = binding.new_subject});
  }
  policy->audiences = config.audiences;
  policy->ttl = config.ttl;
  return policy;
}

TokenExchange::TokenExchange(Loop& loop,
                             Gate& gate,
                             GateParts parts,
                             const OwnIssuer& issuer,
                             const Published<ExchangePolicy>& policy)
    : loop_(loop),
      gate_(gate),
      parts_(parts),
      issuer_(issuer),
      policy_(policy),
      revocations_(parts.revocations) {}

Async<Result<MintedToken>> TokenExchange::make(Wish& wish,
                                               Deadline deadline,
                                               Refusal& refusal,
                                               Exchange& exchange) {
  MERIDIAN_CO_TRY(const VerifiedTokenPointer given,
                  co_await gate_.identify(wish.subject_token.reveal(), deadline));
  refusal.issuer = exchange.issuer = given->issuer;
  refusal.subject = exchange.subject = given->subject;
  refusal.token_id = exchange.token_id = given->token_id;
  const WallTime now = loop_.wall_now();
  const Revocation* const revocation = revocations_.get()->find(subject_of(*given), now);
  if (revocation) co_return fail(Errc::denied, revocation_text(*revocation));

  const ExchangePolicy& policy = *policy_.get();
  const auto binding = std::ranges::find_if(
      policy.bindings, [&](const auto& known) { return known.condition.matches(*given); });
  if (binding == policy.bindings.end()) {
    co_return fail(Errc::denied,
                   fmt::format("no exchange binding is for issuer {}, subject {}",
                               given->issuer,
                               quote(given->subject)));
  }
  if (given->expires_at <= now) {
    co_return fail(Errc::unauthenticated, "the token has expired; a new one would outlive it");
  }
  exchange.binding = binding->condition.text();
  exchange.new_subject = binding->new_subject.empty() ? given->subject : binding->new_subject;
  exchange.audience = wish.audience;
  const Duration left = given->expires_at - now;
  MERIDIAN_CO_TRY(MintedToken minted,
                  issuer_.mint({.subject = exchange.new_subject,
                                .audience = wish.audience,
                                .ttl = std::min(policy.ttl, left),
                                .origin = origin_of(*given)},
                               now,
                               loop_.random()));
  exchange.new_token_id = minted.token_id;
  co_return minted;
}

Async<http::Response> TokenExchange::exchange(http::Parameters form,
                                              LoginAttempt attempt,
                                              Deadline deadline) {
  // A form that is no good says nothing about anybody: it is answered and not recorded.
  if (auto bad = check_form(form, policy_.get()->audiences)) co_return *std::move(bad);
  Wish wish{
      .subject_token = Secret(std::string(value_of(form, "subject_token"))),
      .audience = std::string(value_of(form, "audience")),
      .issued_type = value_of(form, "requested_token_type") == type_jwt ? type_jwt : type_access,
      .scope_given = !value_of(form, "scope").empty()};

  auto recorded = co_await parts_.log.on_attempt(attempt);
  if (!recorded) co_return refuse(unrecorded(recorded.error(), attempt.request), attempt.request);
  const Time start = loop_.now();
  const std::string source = login_source_of(*attempt.peer);
  Refusal refusal{.error = Error(Errc::unavailable), .issuer = {}, .subject = {}, .token_id = {}};
  Exchange exchange;
  Result<MintedToken> minted = fail(Errc::unavailable);
  if (auto allowed = parts_.limiter.check(source, start); allowed) {
    minted = co_await make(wish, deadline, refusal, exchange);
  } else {
    minted = std::unexpected(std::move(allowed).error());
  }
  if (minted) {
    recorded = co_await parts_.log.on_exchanged(attempt, std::move(exchange));
  } else {
    if (counts_as_failed_login(minted.error().code())) parts_.limiter.failed(source, start);
    refusal.error = minted.error();
    recorded = co_await parts_.log.on_refused(attempt, std::move(refusal));
  }
  if (!recorded) co_return refuse(unrecorded(recorded.error(), attempt.request), attempt.request);
  if (!minted) co_return refuse(minted.error(), attempt.request);
  co_return issue(*minted, wish.issued_type, wish.scope_given, loop_.wall_now());
}

}  // namespace meridian
