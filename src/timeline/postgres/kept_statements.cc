#include "timeline/postgres/kept_statements.h"

#include <utility>
#include <vector>

namespace meridian {

Async<Result<Rows>> KeptStatements::run(std::string_view sql,
                                        Parameters parameters,
                                        Deadline deadline) {
  const auto text = std::string(sql);
  // Borrowed values are only good until the first wait.
  std::vector<Value> kept;
  for (const Parameter& parameter : parameters.items())
    kept.push_back(parameter ? Value(std::string(*parameter)) : Value());
  std::vector<Parameter> values(kept.begin(), kept.end());

  MERIDIAN_CO_TRY(PostgresSession * session, co_await sessions_.get(deadline));
  if (generation_ != sessions_.generation()) {
    generation_ = sessions_.generation();
    prepared_.clear();
  }
  auto found = prepared_.find(text);
  if (found == prepared_.end()) {
    if (prepared_.size() >= prepared_max) {
      co_return co_await session->query(text, Parameters(values), deadline);
    }
    const std::string name = "s" + std::to_string(prepared_.size());
    found = prepared_.emplace(text, name).first;
    const std::uint64_t generation = generation_;
    auto described = co_await session->prepare(name, text, deadline);
    if (!described) {
      // Whether the name is taken is not known, so the session is not used again.
      if (generation == generation_ && sessions_.generation() == generation) sessions_.reset();
      co_return std::unexpected(described.error());
    }
    MERIDIAN_CO_TRY(session, co_await sessions_.get(deadline));
    if (sessions_.generation() != generation) {
      co_return fail(Errc::unavailable, "the session broke before the statement was sent");
    }
    co_return co_await session->execute(name, Parameters(values), deadline);
  }
  // A text that is being prepared was sent before this, and the session answers in order.
  const std::string name = found->second;
  co_return co_await session->execute(name, Parameters(values), deadline);
}

}  // namespace meridian
