#pragma once
// Token exchange (RFC 8693): a token of a trusted issuer, for which a binding says so, becomes a
// short-lived one of this node's own, for one audience.
//
// The new token never outlives the one it was made from, and names that one's issuer and subject in
// its claim `origin`. Errors tell the client which rule of the protocol it broke; why its token was
// refused stands on the trail under the request id.
//
// One for each loop.

#include "base/result.h"
#include "base/secret.h"
#include "gate/gate.h"
#include "gate/own_issuer.h"
#include "gate/role.h"
#include "wire/http/message.h"
#include "wire/http/target.h"

#include <memory>
#include <span>
#include <string>
#include <vector>

namespace meridian {

// Who may exchange what. Never changes; a reload makes a new one.
struct ExchangePolicy {
  struct Binding {
    Condition condition;
    std::string new_subject;  // Empty: the subject stays.
  };

  // `issuers` are the names that bindings may use. Errors: invalid.
  static Result<std::shared_ptr<const ExchangePolicy>> compile(
      const ExchangeConfig& config, std::span<const std::string> issuers);

  std::vector<Binding> bindings;
  std::vector<std::string> audiences;
  Duration ttl{};
};

class TokenExchange {
 public:
  // All of it outlives this.
  TokenExchange(Loop& loop,
                Gate& gate,
                GateParts parts,
                const OwnIssuer& issuer,
                const Published<ExchangePolicy>& policy);

  // Answers a request to token_path with this form. What `attempt` refers to lives until it
  // returns.
  Async<http::Response> exchange(http::Parameters form, LoginAttempt attempt, Deadline deadline);

 private:
  struct Wish;

  // Fills in what is known of the given token for the record of either outcome.
  Async<Result<MintedToken>> make(Wish& wish,
                                  Deadline deadline,
                                  Refusal& refusal,
                                  Exchange& exchange);

  Loop& loop_;
  Gate& gate_;
  GateParts parts_;
  const OwnIssuer& issuer_;
  Published<ExchangePolicy>::Reader policy_;
  Published<RevocationSet>::Reader revocations_;
};

}  // namespace meridian
