#pragma once
// The invalidator turns the feed's changed rows into slots to void, and tells the trail which keys
// that was.
//
// A consumer of the feed, on the feed's loop. When it cannot tell which key a change belongs to, it
// voids the view; when it cannot tell which view, it voids everything (I1).

#include "base/ids.h"
#include "base/metrics.h"
#include "cache/coherence.h"
#include "cache/view_set.h"
#include "timeline/feed.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace meridian {

// A table that views depend on, by the id that the feed uses for it; a partition counts as its
// root.
struct WatchedTable {
  std::uint32_t id = 0;
  std::string schema;  // Of the root.
  std::string table;
};

// One key that a transaction voided, or a whole view when `key` is empty.
struct VoidedKey {
  std::shared_ptr<const View> view;
  std::string key;
};

class InvalidationListener {
 public:
  virtual ~InvalidationListener() = default;

  // A transaction was applied. At most voided_keys_max keys are named; `voided_count` is all of
  // them.
  virtual void voided(TransactionId transaction,
                      Position end,
                      RequestId request,
                      std::span<const VoidedKey> keys,
                      std::size_t voided_count) = 0;

  // The schema changed. `matters`: in a way that may matter to views that are registered; caching
  // is paused until set_views(). Otherwise something was added that they could not know of.
  virtual void schema_changed(Position end, bool matters) = 0;

  // The feed was lost or has come back. After resumed() pending transactions may wait to be
  // settled.
  virtual void feed_lost() = 0;
  virtual void feed_resumed(Position position) = 0;
};

class Invalidator final : public FeedConsumer {
 public:
  static constexpr std::size_t transaction_slots_max = 65'536;  // More void the views as a whole.
  static constexpr std::size_t transactions_max = 4'096;        // Open at once in the stream.
  static constexpr std::size_t voided_keys_max = 64;  // Named on the trail for a transaction.

  // What the database's triggers write into the transaction (timeline/postgres/migrations).
  static constexpr std::string_view request_prefix = "meridian.request";
  static constexpr std::string_view schema_prefix = "meridian.ddl";

  Invalidator(Coherence& coherence, InvalidationListener& listener, Metrics& metrics);

  // The views and the tables that they depend on. Everything kept for others is void; caching is
  // resumed when they are `current`: nothing has happened since that might change them. On the
  // feed's loop.
  void set_views(std::shared_ptr<const ViewSet> views,
                 std::vector<WatchedTable> tables,
                 bool current = true);

  // Tables of the feed that no view depends on and that are no concern of the cache, such as
  // Meridian's own.
  void set_ignored_schema(std::string schema) { ignored_schema_ = std::move(schema); }

  void lost() override;
  void resumed(BootId boot, Position position, const Snapshot& snapshot) override;
  void changed(TransactionId transaction, const ChangedRow& row) override;
  void truncated(TransactionId transaction, std::span<const Relation* const> relations) override;
  void message(TransactionId transaction,
               std::string_view prefix,
               std::string_view content) override;
  void aborted(TransactionId transaction) override;
  void committed(TransactionId transaction, Position end, WallTime at) override;
  void advanced(Position position) override;

 private:
  // One view's dependency on a table, with the places of its columns in the feed's rows.
  struct Rule {
    std::shared_ptr<const View> view;
    std::size_t dependency_index = 0;
    std::vector<std::size_t> columns;  // Empty: the view as a whole.
    bool names_key = false;            // The columns give all parts of the key.
  };
  struct Plan {
    std::vector<std::string> columns;  // Of the relation when the plan was made.
    bool whole_old_rows = false;
    bool ignored = false;
    bool unknown = false;
    std::vector<Rule> rules;
  };
  struct Effects {
    std::vector<SlotIndex> slots;
    std::unordered_map<SlotIndex, bool> seen;
    std::vector<VoidedKey> keys;
    std::size_t voided_count = 0;
    RequestId request;
    bool schema_changed = false;
    bool schema_grew = false;
    bool everything = false;
  };

  Effects& effects_of(TransactionId transaction);
  const Plan& plan_for(const Relation& relation);
  Plan make_plan(const Relation& relation) const;
  void apply_row(Effects& effects, const Rule& rule, std::span<const Cell> row);
  void add_slot(Effects& effects, SlotIndex slot);
  void void_view(Effects& effects, const std::shared_ptr<const View>& view);
  static void void_everything(Effects& effects);

  Coherence& coherence_;
  InvalidationListener& listener_;
  std::shared_ptr<const ViewSet> views_;
  std::unordered_map<std::uint32_t, WatchedTable> tables_;
  std::unordered_map<std::uint32_t, Plan> plans_;
  std::unordered_map<TransactionId, Effects> open_;
  bool overflowed_ = false;  // Too many transactions were open: the next commit voids everything.
  std::string ignored_schema_;
  Counter& transactions_;
  Counter& rows_;
  Counter& voided_;
  Counter& escalations_;
};

}  // namespace meridian
