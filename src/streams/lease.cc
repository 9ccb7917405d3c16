#include "streams/lease.h"

#include "base/number.h"
#include "runtime/log.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace meridian {
namespace {

// Answers with the epoch where it was got, and with the owner that is in the way otherwise.
constexpr std::string_view acquire_sql =
    "SELECT epoch, holder FROM meridian.acquire_lease($1, $2, $3::interval)";
constexpr std::string_view renew_sql =
    "UPDATE meridian.leases SET expires_at = clock_timestamp() + $3::interval"
    " WHERE name = $1 AND epoch = $2::bigint RETURNING epoch";
constexpr std::string_view release_sql =
    "UPDATE meridian.leases SET expires_at = '-infinity' WHERE name = $1 AND epoch = $2::bigint";

// The owner of a lease is "<node> <number of the run> <drawn by the process>": two nodes whose data
// folders were copied from one may run the same number.
constexpr std::string_view give_back_earlier_sql =
    "UPDATE meridian.leases SET expires_at = '-infinity' WHERE name = $1 AND starts_with(owner, $2)"
    " AND CASE WHEN substr(owner, length($2) + 1) ~ '^[0-9]{1,19} '"
    " THEN split_part(substr(owner, length($2) + 1), ' ', 1)::numeric < $3::numeric ELSE false END"
    " AND expires_at > '-infinity' RETURNING owner";

constexpr Duration release_timeout = std::chrono::seconds(2);

}  // namespace

Lease::Lease(Loop& loop, Statements& statements, LeaseOptions options)
    : loop_(loop),
      statements_(statements),
      options_(std::move(options)),
      ttl_text_(std::to_string(
                    std::chrono::duration_cast<std::chrono::milliseconds>(options_.ttl).count()) +
                " milliseconds"),
      owner_text_(options_.run == 0 ? options_.owner
                                    : fmt::format("{} {} {:08x}",
                                                  options_.owner,
                                                  options_.run,
                                                  loop.random().next() & 0xffff'ffff)),
      earlier_given_back_(options_.run == 0),
      changed_(loop),
      woken_(loop),
      scope_(loop) {}

Lease::~Lease() = default;

Async<> Lease::close() {
  co_await scope_.close();
  if (!held_) co_return;
  set_held(false);
  const Shield shield(co_await this_fibre());
  const std::string epoch = std::to_string(epoch_);
  auto released =
      co_await statements_.run(release_sql, {options_.name, epoch}, loop_.after(release_timeout));
  if (!released) {
    log_info("streams",
             "a lease was not given back; it expires",
             {{"lease", options_.name}, {"reason", released.error().detail()}});
  }
}

void Lease::set_held(bool held) noexcept {
  if (held_ == held) return;
  held_ = held;
  changed_.notify_all();
}

void Lease::lose() noexcept {
  set_held(false);
  woken_.notify_all();
}

Async<Result<void>> Lease::becomes(bool wanted, Deadline deadline) {
  while (held_ != wanted) {
    MERIDIAN_CO_CHECK(to_result(co_await changed_.wait(deadline), "lease " + options_.name));
  }
  co_return Result<void>();
}

Async<> Lease::run() {
  const Duration renewed_every = options_.ttl / 3;
  for (;;) {
    const Time asked = loop_.now();
    auto got = held_ ? co_await renew() : co_await acquire();
    if (got) {
      last_error_.reset();
      if (*got) good_until_ = asked + options_.ttl;
      set_held(*got);
    } else if (got.error().code() == Errc::cancelled) {
      co_return;
    } else {
      last_error_ = got.error();
      // The database may have given it to another one; without it nothing can be written anyhow.
      if (held_ && loop_.now() >= good_until_) set_held(false);
    }
    const bool lost_just_now = got && !*got && holder_.empty();
    if (lost_just_now) continue;
    const Duration pause = got && *got ? renewed_every : options_.retry;
    if (co_await woken_.wait(loop_.after(pause)) == Wake::cancelled) co_return;
  }
}

Async<Result<void>> Lease::give_back_earlier() {
  const std::string run = std::to_string(options_.run);
  MERIDIAN_CO_TRY(const Rows rows,
                  co_await statements_.run(give_back_earlier_sql,
                                           {options_.name, options_.owner + " ", run},
                                           loop_.after(options_.ttl)));
  earlier_given_back_ = true;
  if (!rows.empty()) {
    log_info("streams",
             "a lease of an earlier run of this node was given back",
             {{"lease", options_.name}, {"owner", rows.text(0, 0)}});
  }
  co_return Result<void>();
}

Async<Result<bool>> Lease::acquire() {
  if (!earlier_given_back_) {
    MERIDIAN_CO_CHECK(co_await give_back_earlier());
  }
  MERIDIAN_CO_TRY(
      const Rows rows,
      co_await statements_.run(
          acquire_sql, {options_.name, owner_text_, ttl_text_}, loop_.after(options_.ttl)));
  if (rows.count() != 1) co_return fail(Errc::unavailable, "no answer about the lease");
  const auto epoch = rows.at(0, 0) ? parse_number<std::uint64_t>(*rows.at(0, 0)) : std::nullopt;
  holder_ = epoch ? std::string() : std::string(rows.text(0, 1));
  if (!epoch) co_return false;
  epoch_ = *epoch;
  log_info("streams", "a lease was acquired", {{"lease", options_.name}, {"epoch", epoch_}});
  co_return true;
}

Async<Result<bool>> Lease::renew() {
  const std::string epoch = std::to_string(epoch_);
  MERIDIAN_CO_TRY(const Rows rows,
                  co_await statements_.run(
                      renew_sql, {options_.name, epoch, ttl_text_}, loop_.after(options_.ttl / 3)));
  if (!rows.empty()) co_return true;
  holder_.clear();
  log_warning("streams",
              "a lease was lost to another owner",
              {{"lease", options_.name}, {"epoch", epoch_}});
  co_return false;
}

}  // namespace meridian
