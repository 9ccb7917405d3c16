#include "cache/keeper.h"

#include "runtime/log.h"

namespace meridian {

Keeper::Keeper(Loop& loop,
               Coherence& coherence,
               PositionSource& positions,
               Metrics& metrics,
               KeeperOptions options)
    : loop_(loop),
      coherence_(coherence),
      positions_(positions),
      options_(options),
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
      if (snapshot && boot == coherence_.boot()) {
        coherence_.settle(*snapshot);
      } else if (co_await loop_.sleep(options_.reopen_pause) == Wake::cancelled) {
        co_return;
      }
    }
  }
}

Async<> Keeper::reopen() {
  for (;;) {
    if (co_await loop_.sleep(options_.reopen_pause) == Wake::cancelled) co_return;
    if (coherence_.serving()) continue;
    coherence_.rearm();
    if (!coherence_.must_wait()) continue;  // The feed itself is gone.
    const Deadline bound = loop_.after(options_.question_timeout);
    // Asked for after rearm(): what was acknowledged without waiting lies before it, once it is
    // durable, which such a commit need not have waited for either.
    auto nudged = co_await positions_.nudge(bound);
    auto position = nudged ? co_await positions_.flushed(bound) : std::unexpected(nudged.error());
    bool reached = false;
    while (position && coherence_.must_wait() && !reached && !bound.passed(loop_.now())) {
      reached = coherence_.reached(*this, *position);
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
