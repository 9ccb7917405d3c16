#pragma once
// Which records somebody wants to see.

#include "base/ids.h"
#include "base/time.h"
#include "gate/trail/format.h"
#include "gate/trail/visits.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace meridian::trail {

// A record must pass everything that is set.
struct Filter {
  std::optional<RequestId> request{};
  std::optional<VisitId> visit{};   // statement_outcomes pass when they hold one of it.
  std::vector<RecordKind> kinds{};  // Any of them. Empty: all.
  std::string node{};

  // What the record itself says, or else what is known of its visit.
  std::string subject{};
  std::string role{};
  std::string door{};

  std::string key{};  // A key, view, pattern or resource that the record names.

  std::optional<WallTime> since{};
  std::optional<WallTime> until{};  // Not included.

  // `facts` is what is known of the record's visit, or null.
  bool passes(const RecordView& record, const VisitFacts* facts) const;
};

// The kind of this name.
std::optional<RecordKind> parse_record_kind(std::string_view name) noexcept;

}  // namespace meridian::trail
