#include "cache/keeper.h"

#include "runtime/log.h"

#include <utility>

namespace meridian {

Keeper::Keeper(Loop& loop,
               Coherence& coherence,
               PositionSource& positions,
               Metrics& metrics,
               KeeperOptions options)
    : loop_(loop),
      coherence_(coherence),
      positions_(positions),
      options_(std::move(options)),
      scope_(loop),
      pending_(loop),
      advanced_(loop),
      alive_(std::make_shared<bool>(true)),
      questions_(
          metrics.counter("meridian_cache_visibility_questions_total",
                          "Snapshots asked for to see delivered transactions become visible.")) {
  coherence_.add_watch(*this);
}

Keeper::~Keeper() {
  *alive_ = false;
}

void Keeper::start() {
  scope_.spawn(settle());
  scope_.spawn(reopen());
}

void Keeper::wake() noexcept {
  loop_.submit([this, alive = alive_] {
    if (*alive) advanced_.notify_all();
  });
}

Async<> Keeper::settle() {
  // A transaction is usually visible before the first answer; then there is nothing to pause for.
  constexpr int eager_max = 3;
  for (;;) {
    if (!coherence_.any_pending()) {
      if (co_await pending_.wait() == Wake::cancelled) co_return;
    }
    for (int asked = 0; coherence_.any_pending(); ++asked) {
      if (asked >= eager_max && co_await loop_.sleep(options_.settle_pause) == Wake::cancelled)
        co_return;
      questions_.add();
      const BootId boot = coherence_.boot();
      auto snapshot = co_await positions_.snapshot(loop_.after(options_.question_timeout));
      if (snapshot && snapshot->boot == coherence_.boot()) {
        coherence_.settle(snapshot->value);
        continue;
      }
      if (snapshot && boot == coherence_.boot()) other_server();
      if (co_await loop_.sleep(options_.reopen_pause) == Wake::cancelled) {
        co_return;
      }
    }
  }
}

// Whichever of the two connections is behind: both are made again.
void Keeper::other_server() {
  log_warning("cache", "the database has become another server; the feed begins anew");
  positions_.reconnect();
  options_.server_changed();
}

Async<> Keeper::reopen() {
  for (;;) {
    if (co_await loop_.sleep(options_.reopen_pause) == Wake::cancelled) co_return;
    if (coherence_.serving()) continue;
    coherence_.rearm();
    if (!coherence_.must_wait()) continue;  // The feed itself is gone.
    const Deadline bound = loop_.after(options_.question_timeout);
    // Asked for after rearm(): what was acknowledged without waiting lies before it. The nudge
    // takes with it what was acknowledged without waiting for the disk either.
    auto nudged = co_await positions_.nudge(bound);
    Result<OfBoot<Position>> position =
        nudged ? co_await positions_.flushed(bound) : std::unexpected(nudged.error());
    const auto of_feed = [&] {
      return position->boot == *nudged && position->boot == coherence_.boot();
    };
    bool reached = false;
    while (position && coherence_.must_wait() && !reached && !bound.passed(loop_.now())) {
      reached = coherence_.reached(*this, position->value);
      // Looked at after the position: the feed says first whose positions it has.
      if (!of_feed()) {
        reached = false;
        if (coherence_.must_wait()) other_server();
        break;
      }
      if (!reached && co_await advanced_.wait(bound) == Wake::cancelled) co_return;
    }
    if (reached && coherence_.open()) {
      log_info("cache", "hits are served again");
    } else if (coherence_.must_wait() && !coherence_.serving()) {
      coherence_.shut();
    }
  }
}

}  // namespace meridian
