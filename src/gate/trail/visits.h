#pragma once
// What is known of the visits of one shard while its records are read: who they are.

#include "base/ids.h"
#include "base/result.h"
#include "gate/trail/format.h"

#include <cstdint>
#include <string>
#include <unordered_map>

namespace meridian::trail {

struct VisitFacts {
  std::string door{};
  std::string address{};
  std::string issuer{};
  std::string subject{};
  std::string role{};
};

// A visit is known from visit_opened to the record after its visit_ended. Visit ids begin anew with
// each run of a node, so node_started forgets them all.
class Visits {
 public:
  // Of one shard at once.
  static constexpr std::size_t visits_max = 1'000'000;

  // Takes note of a record. Errors: exhausted (visits_max).
  Result<void> observe(const RecordView& record);

  // Null: nothing is known.
  const VisitFacts* find(VisitId visit) const noexcept;

  // How often the node was started before the record observed last. Together with the shard it
  // makes visit ids unique.
  std::uint32_t run() const noexcept { return run_; }

 private:
  Result<VisitFacts*> entry(VisitId visit);

  std::unordered_map<VisitId, VisitFacts> visits_;
  VisitId ended_;  // To be forgotten at the next record.
  std::uint32_t run_ = 0;
};

}  // namespace meridian::trail
