#include "cache/commit_wait.h"

#include "runtime/log.h"

#include <utility>

namespace meridian {

// Those who are served by one question.
struct CommitWait::Round {
  explicit Round(Loop& loop) : done(loop) {}
  Event done;
  bool unflushed = false;
};

CommitWait::CommitWait(Loop& loop,
                       Coherence& coherence,
                       PositionSource& positions,
                       Metrics& metrics,
                       CommitWaitOptions options)
    : loop_(loop),
      coherence_(coherence),
      positions_(positions),
      options_(options),
      scope_(loop),
      advanced_(loop),
      alive_(std::make_shared<bool>(true)),
      waits_(metrics.counter("meridian_commit_waits_total",
                             "Acknowledgements that waited for the feed.")),
      nudges_(metrics.counter("meridian_commit_wait_nudges_total",
                              "Empty commits made to move a feed that was late.")),
      gave_up_(metrics.counter("meridian_commit_wait_given_up_total",
                               "Times the node stopped serving hits because the feed was late.")),
      wait_seconds_(metrics.histogram("meridian_commit_wait_seconds",
                                      "Time that commit-wait added to an acknowledgement.")) {}

CommitWait::~CommitWait() {
  *alive_ = false;
}

void CommitWait::wake() noexcept {
  loop_.submit([this, alive = alive_] {
    if (*alive) advanced_.notify_all();
  });
}

Async<Wake> CommitWait::wait(bool unflushed) {
  waits_.add();
  const Time begun = loop_.now();
  if (!boarding_) boarding_ = std::make_shared<Round>(loop_);
  const std::shared_ptr<Round> round = boarding_;
  round->unflushed = round->unflushed || unflushed;
  if (!asking_) {
    asking_ = true;
    scope_.spawn(fly(std::exchange(boarding_, nullptr)));
  }
  const Wake wake = co_await round->done.wait();
  wait_seconds_.observe(loop_.now() - begun);
  co_return wake;
}

Async<> CommitWait::fly(std::shared_ptr<Round> round) {
  const Deadline bound = loop_.after(options_.wait_max);
  Result<BootId> nudged_boot = BootId();
  if (round->unflushed) {
    nudges_.add();
    nudged_boot = co_await positions_.nudge(bound);
  }
  // Without the nudge the position may lie before the commit, so it would prove nothing.
  Result<OfBoot<Position>> position =
      nudged_boot ? co_await positions_.flushed(bound) : std::unexpected(nudged_boot.error());
  // The next question may be under way while this round waits for the feed.
  asking_ = false;
  if (boarding_) {
    asking_ = true;
    scope_.spawn(fly(std::exchange(boarding_, nullptr)));
  }
  bool nudged = round->unflushed;
  if (!position) {
    give_up(position.error().detail());
  } else {
    // Nor does a nudge of one server and a position of another.
    if (round->unflushed && *nudged_boot != position->boot) position->boot = 0;
    for (;;) {
      const bool reached = coherence_.reached(*this, position->value);
      if (!coherence_.must_wait()) break;
      // Looked at after the position: the feed says first whose positions it has.
      if (position->boot != coherence_.boot()) {
        positions_.reconnect();
        give_up("the position is of another server than the feed");
        break;
      }
      if (reached) break;
      const Time now = loop_.now();
      if (bound.passed(now)) {
        give_up("the feed did not reach the commit's position in time");
        break;
      }
      const Deadline step =
          nudged ? bound : earlier(bound, Deadline::at(now + options_.nudge_after));
      const Wake woken = co_await advanced_.wait(step);
      if (woken == Wake::cancelled) co_return;  // The node is closing; nobody is told anything.
      if (woken == Wake::timeout && !nudged) {
        nudged = true;
        nudges_.add();
        (void)co_await positions_.nudge(bound);
      }
    }
  }
  round->done.set();
}

void CommitWait::give_up(std::string_view why) {
  if (!coherence_.must_wait()) return;
  coherence_.shut();
  gave_up_.add();
  log_warning("cache", "hits are not served until the feed has caught up", {{"reason", why}});
}

}  // namespace meridian
