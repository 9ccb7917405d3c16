#include "app/trail_log.h"

namespace meridian {

// The connection itself is on the trail already (DoorHost); a login that cannot be recorded is not
// looked at.
Async<Result<void>> TrailLog::on_attempt(LoginAttempt /*attempt*/) {
  co_return trail_.ready();
}

Async<Result<void>> TrailLog::on_admitted(LoginAttempt attempt, PrincipalPointer principal) {
  co_return trail_.append({attempt.visit, attempt.request},
                          trail::Admitted{.issuer = principal->issuer,
                                          .subject = principal->subject,
                                          .role = principal->role_name,
                                          .token_id = principal->token_id,
                                          .binding = principal->binding,
                                          .expiry = principal->expires_at});
}

Async<Result<void>> TrailLog::on_refused(LoginAttempt attempt, Refusal refusal) {
  co_return trail_.append({attempt.visit, attempt.request},
                          trail::Refused{.door = to_string(attempt.door),
                                         .address = attempt.peer->to_string(),
                                         .rule = to_string(refusal.error.code()),
                                         .detail = refusal.error.detail(),
                                         .issuer = refusal.issuer,
                                         .subject = refusal.subject});
}

Async<Result<void>> TrailLog::on_exchanged(LoginAttempt attempt, Exchange exchange) {
  const std::string detail = "issuer " + exchange.issuer + ", subject " + exchange.subject +
                             ", token " + exchange.token_id + " became subject " +
                             exchange.new_subject + ", token " + exchange.new_token_id +
                             " for audience " + exchange.audience + " by " + exchange.binding;
  co_return trail_.append(
      {attempt.visit, attempt.request},
      trail::Administration{.who = exchange.subject, .action = "exchange_token", .detail = detail});
}

}  // namespace meridian
