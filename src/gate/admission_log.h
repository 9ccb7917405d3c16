#pragma once
// Where the gate records who came, who was admitted and who was refused, before it has any effect.
// The trail implements it; what cannot be recorded does not happen.

#include "base/ids.h"
#include "base/result.h"
#include "gate/permissions.h"
#include "gate/principal.h"
#include "runtime/async.h"
#include "runtime/stream.h"

#include <span>
#include <string>
#include <string_view>

namespace meridian {

// Somebody at a door. The views and the peer live until the awaited call ends.
struct LoginAttempt {
  RequestId request;
  VisitId visit;
  DoorName door;
  const Peer* peer;
  std::string_view wanted_role = {};  // Empty: the one that the token has.
  std::string_view database = {};     // postgres only.
  // Of the client's verified certificate; see Stream::certificate_names().
  std::span<const std::string> certificate_names = {};
};

struct Refusal {
  Error error;         // Never holds the token.
  std::string issuer;  // These three are empty where the token proved nothing.
  std::string subject;
  std::string token_id;
};

// A token of this node's own that was made out of another.
struct Exchange {
  std::string issuer;  // Of the token that was given.
  std::string subject;
  std::string token_id;
  std::string binding;
  std::string new_subject;  // Of the token that was made.
  std::string new_token_id;
  std::string audience;
};

class AdmissionLog {
 public:
  virtual ~AdmissionLog() = default;

  // Each returns when the record is as safe as records get. An error makes the attempt fail.
  virtual Async<Result<void>> on_attempt(LoginAttempt attempt) = 0;
  virtual Async<Result<void>> on_admitted(LoginAttempt attempt, PrincipalPointer principal) = 0;
  virtual Async<Result<void>> on_refused(LoginAttempt attempt, Refusal refusal) = 0;
  virtual Async<Result<void>> on_exchanged(LoginAttempt attempt, Exchange exchange) = 0;
};

}  // namespace meridian
