#include "streams/outbox_rows.h"

#include "base/hex.h"

#include <utility>

namespace meridian {
namespace {

// A timestamptz where the session's time zone is UTC.
std::optional<WallTime> parse_timestamp(std::string_view text) {
  constexpr std::string_view zone = "+00";
  if (!text.ends_with(zone)) return std::nullopt;
  std::string utc(text.substr(0, text.size() - zone.size()));
  utc += 'Z';
  WallTime time;
  if (!parse_rfc3339(utc, time)) return std::nullopt;
  return time;
}

}  // namespace

Result<std::string> parse_bytea(std::string_view text) {
  if (!text.starts_with("\\x")) return fail(Errc::invalid, "bytea_output is not hex");
  text.remove_prefix(2);
  std::string bytes(text.size() / 2, '\0');
  auto* const data = reinterpret_cast<std::uint8_t*>(bytes.data());
  if (!from_hex(text, {data, bytes.size()})) return fail(Errc::invalid, "not a bytea");
  return bytes;
}

std::size_t OutboxRows::size_of(const OutboxRow& row) noexcept {
  constexpr std::size_t beside = sizeof(Kept) + 64;  // Its place in the map.
  return beside + row.subject.size() + row.identity.size() + row.headers.size() +
         row.payload->size();
}

void OutboxRows::keep(TransactionId transaction, std::uint64_t id, const ChangedRow& row) {
  std::size_t text_size = 0;
  for (const Cell& cell : row.after)
    text_size += cell.text.size();
  if (text_size / 2 > size_max_ - size_) return;  // A payload's text is twice as long as it is.
  Kept kept;
  kept.transaction = transaction;
  kept.row.id = id;
  bool has_subject = false;
  bool has_time = false;
  for (std::size_t i = 0; i < row.after.size() && i < row.relation.columns.size(); ++i) {
    const std::string_view name = row.relation.columns[i];
    const Cell& cell = row.after[i];
    if (cell.kind != Cell::Kind::text) continue;
    if (name == "subject") {
      kept.row.subject = cell.text;
      has_subject = true;
    } else if (name == "identity") {
      kept.row.identity = cell.text;
    } else if (name == "headers") {
      kept.row.headers = cell.text;
    } else if (name == "payload") {
      auto payload = parse_bytea(cell.text);
      if (!payload) return;
      kept.row.payload_size = payload->size();
      kept.row.payload = *std::move(payload);
    } else if (name == "created_at") {
      const auto time = parse_timestamp(cell.text);
      if (!time) return;
      kept.row.created_at = *time;
      has_time = true;
    }
  }
  if (!has_subject || !has_time || !kept.row.payload) return;
  const std::size_t size = size_of(kept.row);
  if (size > size_max_ - size_) return;
  if (kept_.emplace(id, std::move(kept)).second) size_ += size;
}

std::optional<OutboxRow> OutboxRows::take(std::uint64_t id, const Snapshot& seen) {
  const auto found = kept_.find(id);
  if (found == kept_.end()) return std::nullopt;
  size_ -= size_of(found->second.row);
  std::optional<OutboxRow> row;
  if (seen.sees(found->second.transaction)) row = std::move(found->second.row);
  kept_.erase(found);
  return row;
}

template <class Which>
void OutboxRows::forget_if(Which&& which) {
  std::erase_if(kept_, [&](const auto& entry) {
    if (!which(entry.second.transaction)) return false;
    size_ -= size_of(entry.second.row);
    return true;
  });
}

void OutboxRows::forget(TransactionId transaction) {
  forget_if([&](TransactionId each) { return each == transaction; });
}

void OutboxRows::forget_seen(const Snapshot& snapshot) {
  forget_if([&](TransactionId each) { return snapshot.sees(each); });
}

void OutboxRows::clear() noexcept {
  kept_.clear();
  size_ = 0;
}

}  // namespace meridian
