#pragma once
// The feed: the stream of committed row changes read from the timeline.
//
// Implementations: timeline/postgres (logical decoding) and timeline/sim. A feed calls its
// consumers on its own loop, one event after another; a consumer must not block. What it is given
// is borrowed for the call.
//
// Order of events for a consumer: lost(), then resumed(), then transactions and positions. A
// row may be delivered before its transaction ends (streaming); it counts when committed() names
// the transaction.

#include "base/time.h"
#include "timeline/boot_id.h"
#include "timeline/position.h"
#include "timeline/snapshot.h"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace meridian {

// A table as the feed describes it. Columns are those of the replica's row, in order.
struct Relation {
  std::uint32_t id = 0;  // The table's OID; a partition has its own.
  std::string schema;
  std::string table;
  std::vector<std::string> columns;
  bool whole_old_rows = false;  // REPLICA IDENTITY FULL: old rows have all columns.
};

// One column of a changed row.
struct Cell {
  enum class Kind : std::uint8_t {
    absent,  // Not sent: a column of the old row outside of the identity.
    null,
    unchanged,  // A large value that was not touched, and is not sent.
    text,
  };
  Kind kind = Kind::absent;
  std::string_view text;
};

struct ChangedRow {
  const Relation& relation;
  std::span<const Cell>
      before;  // Empty for an insert, and for an update that left the identity alone.
  std::span<const Cell> after;  // Empty for a delete.
};

class FeedConsumer {
 public:
  virtual ~FeedConsumer() = default;

  // Continuity is broken: from now until resumed() changes may go unseen.
  virtual void lost() = 0;

  // Every commit after `position` will be delivered. `snapshot` was taken after the position was
  // fixed: commits before it are seen by whoever reads now, but for those that the snapshot has in
  // progress.
  virtual void resumed(BootId boot, Position position, const Snapshot& snapshot) = 0;

  virtual void changed(TransactionId transaction, const ChangedRow& row) = 0;
  virtual void truncated(TransactionId transaction, std::span<const Relation* const> relations) = 0;

  // What pg_logical_emit_message wrote in the transaction.
  virtual void message(TransactionId transaction,
                       std::string_view prefix,
                       std::string_view content) = 0;

  virtual void aborted(TransactionId transaction) = 0;
  virtual void committed(TransactionId transaction, Position end, WallTime at) = 0;

  // Every commit that ended at or before this position has been delivered.
  virtual void advanced(Position position) = 0;
};

}  // namespace meridian
