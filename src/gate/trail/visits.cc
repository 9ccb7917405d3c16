#include "gate/trail/visits.h"

#include "gate/trail/codec.h"

#include <utility>

namespace meridian::trail {

Result<VisitFacts*> Visits::entry(VisitId visit) {
  if (visits_.size() >= visits_max && !visits_.contains(visit)) {
    return fail(Errc::exhausted,
                "more than visits_max=" + std::to_string(visits_max) +
                    " visits of one shard are open at once, so subject, role and door cannot be "
                    "followed: search without them");
  }
  return &visits_[visit];
}

Result<void> Visits::observe(const RecordView& record) {
  if (ended_ != VisitId()) visits_.erase(std::exchange(ended_, VisitId()));
  const VisitId visit = record.header.visit;
  // A record whose fields cannot be read says nothing about its visit; verify names it.
  if (record.header.kind == RecordKind::visit_opened) {
    const auto opened = decode<VisitOpened>(record.fields());
    if (!opened) return {};
    MERIDIAN_TRY(VisitFacts * facts, entry(visit));
    *facts = {};
    facts->door = opened->door.bytes;
    facts->address = opened->address.bytes;
  } else if (record.header.kind == RecordKind::admitted) {
    const auto admitted = decode<Admitted>(record.fields());
    if (!admitted) return {};
    MERIDIAN_TRY(VisitFacts * facts, entry(visit));
    facts->issuer = admitted->issuer.bytes;
    facts->subject = admitted->subject.bytes;
    facts->role = admitted->role.bytes;
  } else if (record.header.kind == RecordKind::visit_ended) {
    ended_ = visit;
  } else if (record.header.kind == RecordKind::node_started) {
    visits_.clear();
    ++run_;
  }
  return {};
}

const VisitFacts* Visits::find(VisitId visit) const noexcept {
  const auto found = visits_.find(visit);
  return found == visits_.end() ? nullptr : &found->second;
}

}  // namespace meridian::trail
