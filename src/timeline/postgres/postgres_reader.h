#pragma once
// Reads for views: prepared once on a few pipelined sessions of each role, on one loop.

#include "timeline/postgres/session_keeper.h"
#include "timeline/reader.h"

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

namespace meridian {

class PostgresReader final : public Reader {
 public:
  static constexpr std::size_t sessions_default = 2;  // For each role and database.

  // How to log in as a role.
  using OptionsFor =
      std::function<Result<PostgresOptions>(const std::string& role, const std::string& database)>;

  PostgresReader(EpollLoop& loop,
                 OptionsFor options,
                 std::size_t sessions_count = sessions_default);
  ~PostgresReader() override;

  Async<Result<ReadRows>> read(std::shared_ptr<const ReadQuery> query,
                               std::vector<std::string> parameters,
                               Deadline deadline) override;

  // Sessions are made again: the schema has changed, so plans may be wrong.
  void reset();

  Async<> close();

 private:
  struct Lane {
    std::unique_ptr<SessionKeeper> keeper;
    std::uint64_t generation = 0;
    std::unordered_set<std::string> prepared;
  };
  using Lanes = std::vector<std::unique_ptr<Lane>>;

  Lane& choose(const ReadQuery& query);
  Async<Result<PostgresSession*>> session_with(Lane& lane,
                                               const ReadQuery& query,
                                               Deadline deadline);

  EpollLoop& loop_;
  OptionsFor options_;
  std::size_t sessions_count_;
  std::map<std::pair<std::string, std::string>, Lanes> lanes_;
};

}  // namespace meridian
