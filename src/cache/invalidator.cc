#include "cache/invalidator.h"

#include <algorithm>
#include <array>
#include <utility>

namespace meridian {
namespace {

// Commands that add something without touching what is there; the content begins with the command.
bool is_addition(std::string_view content) noexcept {
  constexpr std::array<std::string_view, 6> additions{"CREATE TABLE ",
                                                      "CREATE TABLE AS ",
                                                      "SELECT INTO ",
                                                      "CREATE INDEX ",
                                                      "CREATE SEQUENCE ",
                                                      "CREATE SCHEMA "};
  return std::ranges::any_of(
      additions, [&](std::string_view addition) { return content.starts_with(addition); });
}

}  // namespace

Invalidator::Invalidator(Coherence& coherence, InvalidationListener& listener, Metrics& metrics)
    : coherence_(coherence),
      listener_(listener),
      views_(std::make_shared<ViewSet>()),
      transactions_(metrics.counter("meridian_feed_transactions_total",
                                    "Transactions that the feed delivered.")),
      rows_(metrics.counter("meridian_feed_rows_total", "Changed rows that the feed delivered.")),
      voided_(metrics.counter("meridian_cache_invalidations_total",
                              "Keys and whole views that the feed voided.")),
      escalations_(metrics.counter("meridian_cache_escalations_total",
                                   "Changes that voided more than the keys they belong to.")) {}

void Invalidator::set_views(std::shared_ptr<const ViewSet> views,
                            std::vector<WatchedTable> tables,
                            bool current) {
  coherence_.pause_caching();
  coherence_.set_views_generation(views->generation());
  // What they changed so far was judged by the rules of before.
  for (auto& [transaction, effects] : open_)
    void_everything(effects);
  views_ = std::move(views);
  tables_.clear();
  plans_.clear();
  for (WatchedTable& table : tables) {
    const std::uint32_t id = table.id;
    tables_.emplace(id, std::move(table));
  }
  if (current) coherence_.resume_caching();
}

void Invalidator::lost() {
  open_.clear();
  dropped_.clear();
  plans_.clear();
  coherence_.suspend();
  listener_.feed_lost();
}

void Invalidator::resumed(BootId boot, Position position, const Snapshot& snapshot) {
  coherence_.resume(boot, position, snapshot);
  listener_.feed_resumed(position);
}

Invalidator::Effects& Invalidator::effects_of(TransactionId transaction) {
  const auto found = open_.find(transaction);
  if (found != open_.end()) return found->second;
  if (open_.size() >= transactions_max) {
    // No more than the server has transactions in progress.
    for (const auto& [dropped, effects] : open_)
      dropped_.insert(dropped);
    open_.clear();
  }
  return open_[transaction];
}

const Invalidator::Plan& Invalidator::plan_for(const Relation& relation) {
  const auto found = plans_.find(relation.id);
  if (found != plans_.end() && found->second.columns == relation.columns &&
      found->second.whole_old_rows == relation.whole_old_rows) {
    return found->second;
  }
  return plans_[relation.id] = make_plan(relation);
}

Invalidator::Plan Invalidator::make_plan(const Relation& relation) const {
  Plan plan{.columns = relation.columns, .whole_old_rows = relation.whole_old_rows, .rules = {}};
  plan.ignored = !ignored_schema_.empty() && relation.schema == ignored_schema_;
  if (plan.ignored) return plan;
  const auto table = tables_.find(relation.id);
  if (table == tables_.end()) {
    plan.unknown = true;
    return plan;
  }
  for (const auto& view : views_->views()) {
    for (std::size_t i = 0; i < view->dependencies.size(); ++i) {
      const ViewDependency& dependency = view->dependencies[i];
      if (dependency.schema != table->second.schema || dependency.table != table->second.table)
        continue;
      Rule rule{.view = view, .dependency_index = i, .columns = {}};
      for (const ViewDependency::Equality& equality : dependency.equalities) {
        const auto column = std::ranges::find(relation.columns, equality.column);
        if (column == relation.columns.end()) {
          rule.columns.clear();  // The schema is not what the view was registered with.
          break;
        }
        rule.columns.push_back(static_cast<std::size_t>(column - relation.columns.begin()));
      }
      rule.names_key = rule.columns.size() == view->pattern.names().size();
      plan.rules.push_back(std::move(rule));
    }
  }
  return plan;
}

void Invalidator::changed(TransactionId transaction, const ChangedRow& row) {
  rows_.add();
  const Plan& plan = plan_for(row.relation);
  if (plan.ignored) return;
  Effects& effects = effects_of(transaction);
  if (plan.unknown) {
    void_everything(effects);
    return;
  }
  for (const Rule& rule : plan.rules) {
    if (rule.columns.empty()) {
      void_view(effects, rule.view);
      continue;
    }
    // Without an old row the identity did not change, and the columns of the rule are part of it
    // (checked when the view was registered), so the new row names the key on both sides.
    if (!row.before.empty()) apply_row(effects, rule, row.before);
    if (!row.after.empty()) apply_row(effects, rule, row.after);
  }
}

void Invalidator::apply_row(Effects& effects, const Rule& rule, std::span<const Cell> row) {
  KeyPattern::Parts values;
  for (std::size_t i = 0; i < rule.columns.size(); ++i) {
    const std::size_t column = rule.columns[i];
    if (column >= row.size()) return void_view(effects, rule.view);
    const Cell& cell = row[column];
    if (cell.kind == Cell::Kind::null) return;  // Equal to no part.
    if (cell.kind != Cell::Kind::text) return void_view(effects, rule.view);
    values[i] = cell.text;
  }
  const std::span<const std::string_view> list(values.data(), rule.columns.size());
  const SlotIndex slot =
      dependency_slot(coherence_.slots(), *rule.view, rule.dependency_index, list);
  if (effects.seen.contains(slot)) return;
  if (effects.slots.size() >= transaction_slots_max) return void_view(effects, rule.view);
  add_slot(effects, slot);
  ++effects.voided_count;
  if (effects.keys.size() >= voided_keys_max) return;
  std::string key;
  if (rule.names_key) {
    KeyPattern::Parts parts;
    const auto& equalities = rule.view->dependencies[rule.dependency_index].equalities;
    for (std::size_t i = 0; i < equalities.size(); ++i)
      parts[equalities[i].part] = values[i];
    key = rule.view->pattern.make_key({parts.data(), equalities.size()});
  }
  effects.keys.push_back({.view = rule.view, .key = std::move(key)});
}

void Invalidator::add_slot(Effects& effects, SlotIndex slot) {
  if (effects.seen.emplace(slot, true).second) effects.slots.push_back(slot);
}

void Invalidator::void_view(Effects& effects, const std::shared_ptr<const View>& view) {
  const SlotIndex slot = coherence_.slots().of_view(view->index);
  if (effects.seen.contains(slot)) return;
  add_slot(effects, slot);
  ++effects.voided_count;
  escalations_.add();
  if (effects.keys.size() < voided_keys_max) effects.keys.push_back({.view = view, .key = {}});
}

void Invalidator::void_everything(Effects& effects) {
  effects.everything = true;
}

void Invalidator::truncated(TransactionId transaction, std::span<const Relation* const> relations) {
  for (const Relation* const relation : relations) {
    const Plan& plan = plan_for(*relation);
    if (plan.ignored) continue;
    Effects& effects = effects_of(transaction);
    if (plan.unknown) void_everything(effects);
    for (const Rule& rule : plan.rules)
      void_view(effects, rule.view);
  }
}

void Invalidator::message(TransactionId transaction,
                          std::string_view prefix,
                          std::string_view content) {
  if (prefix == request_prefix) {
    if (const auto request = RequestId::parse(content)) effects_of(transaction).request = *request;
  } else if (prefix == schema_prefix) {
    Effects& effects = effects_of(transaction);
    if (is_addition(content)) {
      effects.schema_grew = true;
      return;
    }
    void_everything(effects);
    effects.schema_changed = true;
  }
}

void Invalidator::aborted(TransactionId transaction) {
  open_.erase(transaction);
  dropped_.erase(transaction);
}

void Invalidator::committed(TransactionId transaction, Position end, WallTime /*at*/) {
  transactions_.add();
  auto node = open_.extract(transaction);
  Effects effects = node.empty() ? Effects() : std::move(node.mapped());
  if (dropped_.erase(transaction) != 0) {
    // A change of the schema may have been among what was dropped.
    void_everything(effects);
    effects.schema_changed = true;
  }
  if (effects.everything) {
    effects.slots.assign(1, Slots::everything);
    escalations_.add();
    effects.voided_count = std::max<std::size_t>(effects.voided_count, 1);
  }
  // Before the invalidation, and so before the change is acknowledged: what is filled or proven
  // from here on would be under the old description.
  if (effects.schema_changed) coherence_.pause_caching();
  if (effects.schema_changed || effects.schema_grew) {
    listener_.schema_changed(end, effects.schema_changed);
  }
  voided_.add(effects.voided_count);
  coherence_.apply(transaction, effects.slots, end);
  if (!effects.slots.empty()) {
    listener_.voided(transaction, end, effects.request, effects.keys, effects.voided_count);
  }
}

void Invalidator::advanced(Position position) {
  coherence_.advance(position);
}

}  // namespace meridian
