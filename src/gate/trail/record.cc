#include "gate/trail/record.h"

namespace meridian::trail {

std::string_view to_string(RecordKind kind) noexcept {
  switch (kind) {
    case RecordKind::node_started:
      return "node_started";
    case RecordKind::node_stopped:
      return "node_stopped";
    case RecordKind::visit_opened:
      return "visit_opened";
    case RecordKind::admitted:
      return "admitted";
    case RecordKind::refused:
      return "refused";
    case RecordKind::visit_ended:
      return "visit_ended";
    case RecordKind::statement:
      return "statement";
    case RecordKind::statement_shape:
      return "statement_shape";
    case RecordKind::statement_outcomes:
      return "statement_outcomes";
    case RecordKind::key_reads:
      return "key_reads";
    case RecordKind::key_write:
      return "key_write";
    case RecordKind::denied:
      return "denied";
    case RecordKind::invalidation:
      return "invalidation";
    case RecordKind::administration:
      return "administration";
    case RecordKind::security:
      return "security";
    case RecordKind::retention:
      return "retention";
    case RecordKind::head:
      return "head";
    case RecordKind::interruption:
      return "interruption";
    case RecordKind::subscription:
      return "subscription";
    case RecordKind::publications:
      return "publications";
    case RecordKind::outbox_publication:
      return "outbox_publication";
    case RecordKind::ingest_batch:
      return "ingest_batch";
  }
  return "unknown";
}

std::string_view to_string(PreviousEnd end) noexcept {
  switch (end) {
    case PreviousEnd::none:
      return "none";
    case PreviousEnd::stopped:
      return "stopped";
    case PreviousEnd::killed:
      return "killed";
    case PreviousEnd::torn:
      return "torn";
    case PreviousEnd::damaged:
      return "damaged";
  }
  return "unknown";
}

}  // namespace meridian::trail
