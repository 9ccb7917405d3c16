#pragma once
// The gate's admissions on the trail: one for each loop, on that loop's shard.

#include "gate/admission_log.h"
#include "gate/trail/trail_writer.h"

namespace meridian {

class TrailLog final : public AdmissionLog {
 public:
  explicit TrailLog(trail::TrailWriter& trail) noexcept : trail_(trail) {}

  Async<Result<void>> on_attempt(LoginAttempt attempt) override;
  Async<Result<void>> on_admitted(LoginAttempt attempt, PrincipalPointer principal) override;
  Async<Result<void>> on_refused(LoginAttempt attempt, Refusal refusal) override;
  Async<Result<void>> on_exchanged(LoginAttempt attempt, Exchange exchange) override;

 private:
  trail::TrailWriter& trail_;
};

}  // namespace meridian
