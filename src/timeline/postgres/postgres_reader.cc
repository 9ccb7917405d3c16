#include "timeline/postgres/postgres_reader.h"

#include <algorithm>

namespace meridian {

PostgresReader::PostgresReader(EpollLoop& loop, OptionsFor options, std::size_t sessions_count)
    : loop_(loop), options_(std::move(options)), sessions_count_(sessions_count) {}

PostgresReader::~PostgresReader() = default;

PostgresReader::Lane& PostgresReader::choose(const ReadQuery& query) {
  Lanes& lanes = lanes_[{query.role, query.database}];
  while (lanes.size() < sessions_count_) {
    auto lane = std::make_unique<Lane>();
    lane->keeper = std::make_unique<SessionKeeper>(
        loop_,
        [this, role = query.role, database = query.database] { return options_(role, database); });
    lanes.push_back(std::move(lane));
  }
  // The one with the least to do, since a session answers in order.
  return **std::ranges::min_element(
      lanes, {}, [](const auto& lane) { return lane->keeper->under_way(); });
}

Async<Result<PostgresSession*>> PostgresReader::session_with(Lane& lane,
                                                             const ReadQuery& query,
                                                             Deadline deadline) {
  for (;;) {
    MERIDIAN_CO_TRY(PostgresSession * session, co_await lane.keeper->get(deadline));
    if (lane.generation != lane.keeper->generation()) {
      lane.generation = lane.keeper->generation();
      lane.prepared.clear();
    }
    if (lane.prepared.contains(query.name)) co_return session;
    const std::uint64_t generation = lane.generation;
    // Several fibres may get here; the name is then prepared once more than needed, which the
    // server refuses.
    lane.prepared.insert(query.name);
    auto prepared = co_await session->prepare(query.name, query.sql, deadline);
    if (!prepared) {
      if (lane.generation == generation) lane.prepared.erase(query.name);
      co_return std::unexpected(prepared.error());
    }
  }
}

Async<Result<ReadRows>> PostgresReader::read(std::shared_ptr<const ReadQuery> query,
                                             std::vector<std::string> parameters,
                                             Deadline deadline) {
  Lane& lane = choose(*query);
  MERIDIAN_CO_TRY(PostgresSession * session, co_await session_with(lane, *query, deadline));
  // Of this very connection: read before the wait, since the lane may have another one after it.
  const BootId boot = lane.keeper->boot();
  std::vector<Parameter> borrowed(parameters.begin(), parameters.end());
  const std::uint64_t generation = lane.generation;
  auto rows = co_await session->execute(
      query->name, Parameters(std::span(std::as_const(borrowed))), deadline);
  if (!rows) {
    // The table has changed since the statement was prepared: "cached plan must not change result
    // type". It is prepared anew on a session of its own generation.
    if (rows.error().detail().ends_with("[0A000]")) {
      if (lane.generation == generation) lane.keeper->reset();
      co_return fail(Errc::unavailable, "the view's tables have changed: " + rows.error().detail());
    }
    co_return std::unexpected(rows.error());
  }
  co_return ReadRows{.rows = *std::move(rows), .boot = boot};
}

void PostgresReader::reset() {
  for (auto& [key, lanes] : lanes_) {
    for (auto& lane : lanes)
      lane->keeper->reset();
  }
}

Async<> PostgresReader::close() {
  for (auto& [key, lanes] : lanes_) {
    for (auto& lane : lanes)
      co_await lane->keeper->close();
  }
}

}  // namespace meridian
