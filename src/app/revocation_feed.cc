#include "app/revocation_feed.h"

#include "runtime/log.h"

#include <algorithm>
#include <array>
#include <utility>

namespace meridian {
namespace {

constexpr std::array<std::string_view, 9> columns{
    "id", "issuer", "subject", "token_id", "role", "reason", "revoked_at", "until", "expires_at"};

// How long a row may take from its delivery to its visibility, generously.
constexpr Duration visible_after = std::chrono::seconds(1);

bool is_ours(const Relation& relation) {
  return relation.schema == "meridian" && relation.table == "revocations";
}

// The session's time zone is UTC and its DateStyle ISO: "2026-11-21 08:15:30.123+00".
WallTime to_time(std::string text) {
  if (text.ends_with("+00")) text.replace(text.size() - 3, 3, "Z");
  WallTime time;
  return parse_rfc3339(text, time) ? time : WallTime{};
}

template <class TextOf>
Revocation to_revocation(TextOf&& text_of) {
  Revocation revocation;
  revocation.id = text_of("id");
  revocation.issuer = text_of("issuer");
  revocation.subject = text_of("subject");
  revocation.token_id = text_of("token_id");
  revocation.role = text_of("role");
  revocation.reason = text_of("reason");
  revocation.created_at = to_time(text_of("revoked_at"));
  revocation.expires_at = to_time(text_of("expires_at"));
  const std::string until = text_of("until");
  if (!until.empty()) revocation.until = to_time(until);
  return revocation;
}

}  // namespace

RevocationFeed::RevocationFeed(Loop& loop, Revocations& revocations, SessionKeeper& sessions)
    : loop_(loop), revocations_(revocations), sessions_(sessions), reload_(loop), scope_(loop) {}

RevocationFeed::~RevocationFeed() = default;

Async<Result<void>> RevocationFeed::load(Deadline deadline) {
  std::string list;
  for (const std::string_view column : columns)
    list += (list.empty() ? "" : ", ") + std::string(column);
  MERIDIAN_CO_TRY(PostgresSession * session, co_await sessions_.get(deadline));
  MERIDIAN_CO_TRY(
      const Rows rows,
      co_await session->query(
          "SELECT " + list + " FROM meridian.revocations WHERE expires_at > now()", {}, deadline));
  std::vector<Revocation> all;
  for (std::size_t row = 0; row < rows.count(); ++row) {
    all.push_back(to_revocation([&](std::string_view name) {
      const auto column =
          static_cast<std::size_t>(std::ranges::find(columns, name) - columns.begin());
      return std::string(rows.text(row, column));
    }));
  }
  co_return revocations_.replace(all, loop_.wall_now());
}

void RevocationFeed::resumed(BootId /*boot*/, Position /*position*/, const Snapshot& /*snapshot*/) {
  open_.clear();
  want_reload();
}

void RevocationFeed::changed(TransactionId transaction, const ChangedRow& row) {
  if (!is_ours(row.relation)) return;
  Open& open = open_[transaction];
  if (row.after.empty() || !row.before.empty()) {
    open.reload = true;
    return;
  }
  open.added.push_back(to_revocation([&](std::string_view name) -> std::string {
    const auto column = std::ranges::find(row.relation.columns, name);
    const auto index = static_cast<std::size_t>(column - row.relation.columns.begin());
    if (index >= row.after.size() || row.after[index].kind != Cell::Kind::text) return {};
    return std::string(row.after[index].text);
  }));
}

void RevocationFeed::truncated(TransactionId transaction,
                               std::span<const Relation* const> relations) {
  for (const Relation* const relation : relations) {
    if (is_ours(*relation)) open_[transaction].reload = true;
  }
}

void RevocationFeed::committed(TransactionId transaction, Position /*end*/, WallTime /*at*/) {
  const auto found = open_.find(transaction);
  if (found == open_.end()) return;
  const Open open = std::move(found->second);
  open_.erase(found);
  for (const Revocation& revocation : open.added) {
    auto added = revocations_.add(revocation, loop_.wall_now());
    if (!added) {
      log_error("gate",
                "a revocation could not be taken in",
                {{"id", revocation.id}, {"reason", added.error().detail()}});
    } else {
      log_info("gate",
               "revoked",
               {{"id", revocation.id}, {"subject", revocation.subject}, {"role", revocation.role}});
    }
  }
  if (open.reload) want_reload();
}

void RevocationFeed::want_reload() {
  ++wanted_;
  reload_.notify_all();
}

// A row may be delivered before it is visible, so the table is read again a little later.
Async<> RevocationFeed::reload_when_wanted() {
  std::uint64_t done = 0;
  for (;;) {
    if (done == wanted_ && co_await reload_.wait() != Wake::ready) co_return;
    const std::uint64_t wanted = wanted_;
    for (const Duration pause : {Duration::zero(), visible_after}) {
      if (co_await loop_.sleep(pause) != Wake::ready) co_return;
      auto loaded = co_await load(loop_.after(std::chrono::seconds(5)));
      while (!loaded) {
        if (co_await loop_.sleep(visible_after) != Wake::ready) co_return;
        loaded = co_await load(loop_.after(std::chrono::seconds(5)));
      }
    }
    done = wanted;
  }
}

}  // namespace meridian
