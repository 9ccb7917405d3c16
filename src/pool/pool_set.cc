#include "pool/pool_set.h"

namespace meridian {

void PoolSet::set_options(std::map<std::string, PoolOptions> by_role) {
  const std::lock_guard lock(mutex_);
  options_ = std::move(by_role);
  for (const auto& [key, pool] : pools_) {
    const auto options = options_.find(key.first);
    pool->set_options(options == options_.end() ? PoolOptions() : options->second);
  }
}

Result<std::shared_ptr<Pool>> PoolSet::find(const std::string& role, const std::string& database) {
  const std::lock_guard lock(mutex_);
  auto& pool = pools_[{role, database}];
  if (!pool) {
    if (pools_.size() > pools_max) {
      pools_.erase({role, database});
      return fail(Errc::exhausted,
                  "the node has " + std::to_string(pools_max) + " pools (pools_max)");
    }
    const auto options = options_.find(role);
    pool = std::make_shared<Pool>(role,
                                  database,
                                  source_,
                                  metrics_,
                                  options == options_.end() ? PoolOptions() : options->second);
  }
  return pool;
}

std::vector<std::shared_ptr<Pool>> PoolSet::all() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<Pool>> pools;
  for (const auto& [key, pool] : pools_)
    pools.push_back(pool);
  return pools;
}

Async<> PoolSet::tend(EpollLoop& loop) {
  constexpr Duration pause = std::chrono::seconds(1);
  while (co_await loop.sleep(pause) == Wake::ready) {
    for (const auto& pool : all())
      co_await pool->tend(loop);
  }
}

void PoolSet::renew() {
  for (const auto& pool : all())
    pool->renew();
}

void PoolSet::close() {
  for (const auto& pool : all())
    pool->close();
}

}  // namespace meridian
