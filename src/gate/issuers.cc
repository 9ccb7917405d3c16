#include "gate/issuers.h"

#include "base/escape.h"
#include "base/metrics.h"
#include "gate/discovery.h"
#include "runtime/log.h"

#include <algorithm>
#include <fmt/format.h>

namespace meridian {
namespace {

// A key id that a fetch did not find is not asked for again for this many intervals: long enough
// that one bad token repeated costs little, short enough for a key that is published late.
constexpr int unknown_kid_intervals = 6;

// The keys of now, with those that stayed the same kept as the same objects: whoever remembers one
// sees by the pointer that it is still trusted.
std::shared_ptr<const jose::KeySet> keep_known(jose::KeySet fresh, const jose::KeySet& known) {
  for (auto& key : fresh.keys) {
    auto before = known.find(key->kid());
    if (before && before->algorithm() == key->algorithm() &&
        before->thumbprint() == key->thumbprint()) {
      key = std::move(before);
    }
  }
  return std::make_shared<const jose::KeySet>(std::move(fresh));
}

}  // namespace

struct Issuers::Source {
  Source(Loop& loop, IssuerConfig configured, Metrics& metrics)
      : config(std::move(configured)),
        wanted(loop),
        fetched(loop),
        fetches_good(metrics.counter("meridian_issuer_fetches_total",
                                     "Fetches of an issuer's keys.",
                                     {{"issuer", config.name}, {"outcome", "good"}})),
        fetches_failed(metrics.counter("meridian_issuer_fetches_total",
                                       "Fetches of an issuer's keys.",
                                       {{"issuer", config.name}, {"outcome", "failed"}})),
        keys_count(metrics.gauge(
            "meridian_issuer_keys", "Usable keys of an issuer.", {{"issuer", config.name}})),
        keys_stale(metrics.gauge("meridian_issuer_keys_stale",
                                 "1 while an issuer's keys cannot be refreshed.",
                                 {{"issuer", config.name}})),
        keys_fetched(metrics.gauge("meridian_issuer_keys_fetched_timestamp_seconds",
                                   "When an issuer's keys were last fetched.",
                                   {{"issuer", config.name}})),
        waiters(metrics.gauge("meridian_issuer_waiters",
                              "Logins that wait for an issuer's keys.",
                              {{"issuer", config.name}})) {}

  IssuerConfig config;
  std::string keys_url;  // Empty: the discovery document is to be fetched first.
  Time discovered_at{};
  std::shared_ptr<const jose::KeySet> keys = std::make_shared<const jose::KeySet>();

  Event wanted;   // Set: somebody waits for a fetch sooner than planned.
  Event fetched;  // Notified after each fetch, good or bad.
  bool fetching = false;
  Time next_allowed{};  // The next fetch begins no sooner.
  unsigned failures_count = 0;
  std::optional<Error> failure;     // Of the last fetch.
  std::optional<Duration> max_age;  // That the issuer gave its keys.
  std::size_t waiters_count = 0;
  std::map<std::string, Time> unknown_kids;  // And until when they are not asked for.

  Counter& fetches_good;
  Counter& fetches_failed;
  Gauge& keys_count;
  Gauge& keys_stale;
  Gauge& keys_fetched;
  Gauge& waiters;
};

Issuers::Issuers(Loop& loop, Fetcher& fetcher, KeyFetchConfig config)
    : loop_(loop),
      fetcher_(fetcher),
      config_(config),
      published_(std::make_shared<const Trust>()),
      scope_(loop) {}

Issuers::~Issuers() = default;

Result<std::unique_ptr<Issuers>> Issuers::make(Loop& loop,
                                               Fetcher& fetcher,
                                               Metrics& metrics,
                                               std::span<const IssuerConfig> issuers,
                                               KeyFetchConfig config) {
  std::unique_ptr<Issuers> made(new Issuers(loop, fetcher, config));
  for (const IssuerConfig& issuer : issuers) {
    auto checked = check_issuer_url(issuer.url, issuer.allow_insecure_http);
    if (!checked) return fail_while(fmt::format("issuer {}", issuer.name), checked.error());
    for (const auto& other : made->sources_) {
      if (other->config.name == issuer.name || other->config.url == issuer.url) {
        return fail(Errc::invalid,
                    fmt::format("issuer {} ({}) is configured twice", issuer.name, issuer.url));
      }
    }
    made->sources_.push_back(std::make_unique<Source>(loop, issuer, metrics));
    // Trusted from the start, without keys: its tokens wait for the first fetch.
    made->trust({.name = issuer.name,
                 .url = issuer.url,
                 .audiences = issuer.audiences,
                 .lifetime_max = issuer.lifetime_max,
                 .keys = std::make_shared<const jose::KeySet>(),
                 .keys_fetched_at = {},
                 .keys_trusted_until = {}});
  }
  return made;
}

void Issuers::start() {
  for (const auto& source : sources_)
    scope_.spawn(keep_fresh(*source));
}

Async<> Issuers::close() {
  co_await scope_.close();
  for (const auto& source : sources_)
    source->fetched.notify_all();  // Fibres of others that wait here; they see that this has ended.
}

void Issuers::trust(TrustedIssuer issuer) {
  auto next = std::make_shared<Trust>(*published_.get());
  const auto known = std::ranges::find(next->issuers, issuer.url, &TrustedIssuer::url);
  if (known != next->issuers.end()) {
    *known = std::move(issuer);
  } else {
    next->issuers.push_back(std::move(issuer));
  }
  published_.publish(std::move(next));
}

Async<> Issuers::keep_fresh(Source& source) {
  for (;;) {
    source.wanted.reset();
    source.next_allowed = loop_.now() + config_.fetch_interval_min;
    source.fetching = true;
    const auto outcome = co_await fetch(source);
    source.fetching = false;
    if (scope_.cancelled()) {
      source.fetched.notify_all();
      co_return;
    }
    if (!outcome) on_failure(source, outcome.error());
    source.fetched.notify_all();

    const Deadline planned = loop_.after(pause_after(source));
    if (co_await source.wanted.wait(planned) == Wake::cancelled) co_return;
    const Duration early = source.next_allowed - loop_.now();
    if (early > Duration::zero() && co_await loop_.sleep(early) == Wake::cancelled) co_return;
  }
}

Duration Issuers::pause_after(const Source& source) {
  Duration pause = config_.refresh_interval;
  if (source.failures_count > 0) {
    const unsigned doublings = std::min(source.failures_count - 1, 16U);
    pause = std::min(pause, config_.fetch_interval_min * (std::int64_t{1} << doublings));
  } else if (source.max_age) {
    pause = std::min(pause, *source.max_age);  // An issuer may ask for fresher, not for staler.
  }
  pause = std::max(pause, config_.fetch_interval_min);
  // Up to a tenth less, so that the nodes of a fleet do not come all at once.
  return pause - Duration(static_cast<std::int64_t>(
                     loop_.random().next() % static_cast<std::uint64_t>(pause.count() / 10 + 1)));
}

Async<Result<FetchResponse>> Issuers::fetch_document(std::string url) {
  MERIDIAN_CO_TRY(FetchResponse response,
                  co_await fetcher_.get({.url = url,
                                         .connect_timeout = config_.connect_timeout,
                                         .total_timeout = config_.total_timeout,
                                         .body_size_max = config_.body_size_max}));
  if (response.status != 200) {
    co_return fail(Errc::unavailable,
                   fmt::format("GET {}: status {} instead of 200{}",
                               url,
                               response.status,
                               response.status / 100 == 3 ? "; redirects are not followed" : ""));
  }
  co_return response;
}

Async<Result<void>> Issuers::fetch(Source& source) {
  const std::string issuer_url = source.config.url;
  const bool old = loop_.now() - source.discovered_at >= config_.discovery_age_max;
  if (source.keys_url.empty() || old || source.failures_count > 0) {
    MERIDIAN_CO_TRY(const FetchResponse found,
                    co_await fetch_document(discovery_url_of(issuer_url)));
    MERIDIAN_CO_TRY(source.keys_url,
                    read_discovery(found.body, issuer_url, source.config.allow_insecure_http));
    source.discovered_at = loop_.now();
  }
  MERIDIAN_CO_TRY(const FetchResponse document, co_await fetch_document(source.keys_url));
  auto keys = jose::parse_jwks(document.body);
  if (!keys) co_return fail_while(fmt::format("GET {}", source.keys_url), keys.error());
  if (keys->keys.empty()) {
    co_return fail(Errc::unavailable,
                   fmt::format("GET {}: none of its {} keys can be used{}{}",
                               source.keys_url,
                               keys->skipped.size(),
                               keys->skipped.empty() ? "" : ": ",
                               keys->skipped.empty() ? "" : keys->skipped.front().reason));
  }
  source.max_age = document.max_age;
  accept_keys(source, *std::move(keys));
  co_return Result<void>();
}

void Issuers::accept_keys(Source& source, jose::KeySet keys) {
  const bool came_back = source.failures_count > 0;
  for (const jose::KeySet::Skipped& skipped : keys.skipped) {
    log_debug(
        "issuers",
        "skipped a key",
        {{"issuer", source.config.name}, {"index", skipped.index}, {"reason", skipped.reason}});
  }
  const std::size_t count_before = source.keys->keys.size();
  source.keys = keep_known(std::move(keys), *source.keys);
  source.failures_count = 0;
  source.failure.reset();
  std::erase_if(source.unknown_kids,
                [&](const auto& item) { return source.keys->find(item.first) != nullptr; });
  const WallTime now = loop_.wall_now();
  source.fetches_good.add();
  source.keys_count.set(static_cast<std::int64_t>(source.keys->keys.size()));
  source.keys_stale.set(0);
  source.keys_fetched.set(std::chrono::floor<std::chrono::seconds>(now).time_since_epoch().count());
  trust({.name = source.config.name,
         .url = source.config.url,
         .audiences = source.config.audiences,
         .lifetime_max = source.config.lifetime_max,
         .keys = source.keys,
         .keys_fetched_at = now,
         .keys_trusted_until =
             now + std::chrono::floor<std::chrono::microseconds>(source.config.keys_age_max)});
  if (came_back || count_before == 0) {
    log_info("issuers",
             came_back ? "keys are fresh again" : "fetched the first keys",
             {{"issuer", source.config.name}, {"keys", source.keys->keys.size()}});
  }
}

void Issuers::on_failure(Source& source, const Error& error) {
  ++source.failures_count;
  source.failure = error;
  source.fetches_failed.add();
  source.keys_stale.set(1);
  log_warning("issuers",
              "fetching keys failed; the last good ones are kept",
              {{"issuer", source.config.name},
               {"error", error.detail()},
               {"failures", source.failures_count},
               {"keys", source.keys->keys.size()}});
}

Error Issuers::refusal(const Source& source, const std::string& kid) const {
  return Error(Errc::unauthenticated,
               fmt::format("its key id {} is not among the {} keys of issuer {}",
                           quote(kid, 64),
                           source.keys->keys.size(),
                           source.config.name));
}

// The token may be good: whoever brings it has not failed, and may come again.
Error Issuers::undecided(const Source& source, const std::string& kid) const {
  if (source.failure) {
    return Error(Errc::unavailable,
                 fmt::format("the keys of issuer {} cannot be fetched: {}",
                             source.config.name,
                             source.failure->detail()));
  }
  return Error(
      Errc::unavailable,
      fmt::format(
          "its key id {} is not among the {} keys of issuer {} that were fetched last; "
          "the next fetch may begin in {}",
          quote(kid, 64),
          source.keys->keys.size(),
          source.config.name,
          to_text(std::chrono::ceil<std::chrono::seconds>(source.next_allowed - loop_.now()))));
}

Async<Result<void>> Issuers::want_key_here(std::string issuer_url,
                                           std::string kid,
                                           Deadline deadline) {
  const auto found = std::ranges::find_if(
      sources_, [&](const auto& source) { return source->config.url == issuer_url; });
  if (found == sources_.end()) {
    // This node's own keys are never behind.
    co_return fail(Errc::unauthenticated,
                   fmt::format("its key id {} is not one of this node's", quote(kid, 64)));
  }
  Source& source = **found;
  for (;;) {
    if (source.keys->find(kid)) co_return Result<void>();
    const Time now = loop_.now();
    const auto unknown = source.unknown_kids.find(kid);
    if (unknown != source.unknown_kids.end() && now < unknown->second) {
      co_return std::unexpected(refusal(source, kid));
    }
    if (!source.fetching && deadline.passed(source.next_allowed)) {
      co_return std::unexpected(undecided(source, kid));
    }
    if (source.waiters_count >= config_.waiters_max) {
      co_return fail(Errc::exhausted,
                     fmt::format("{} logins wait for the keys of issuer {} already",
                                 source.waiters_count,
                                 source.config.name));
    }
    // What is being fetched may have been read there before the key was published.
    const bool begun_before = source.fetching;
    if (!source.fetching) source.wanted.set();
    source.waiters.set(static_cast<std::int64_t>(++source.waiters_count));
    const Wake wake = co_await source.fetched.wait(deadline);
    source.waiters.set(static_cast<std::int64_t>(--source.waiters_count));
    MERIDIAN_CO_CHECK(to_result(wake, "the keys of issuer " + source.config.name));
    if (scope_.cancelled()) co_return fail(Errc::cancelled, "this node is stopping");
    if (source.keys->find(kid)) co_return Result<void>();
    if (source.failure) co_return std::unexpected(undecided(source, kid));
    if (!begun_before) break;
  }
  if (source.unknown_kids.size() >= config_.unknown_kids_max) source.unknown_kids.clear();
  source.unknown_kids[kid] = loop_.now() + config_.fetch_interval_min * unknown_kid_intervals;
  co_return std::unexpected(refusal(source, kid));
}

Async<Result<void>> Issuers::want_key(std::string issuer_url, std::string kid, Deadline deadline) {
  Loop& home = (co_await this_fibre()).loop();
  if (&home == &loop_) {
    co_return co_await want_key_here(std::move(issuer_url), std::move(kid), deadline);
  }
  const std::shared_ptr<const Trust> trust = published_.get();
  const TrustedIssuer* const trusted = trust->find(issuer_url);
  const std::string what =
      fmt::format("the keys of issuer {}", trusted ? trusted->name : quote(issuer_url, 64));
  struct Shared {
    explicit Shared(Loop& owner) : done(owner) {}
    Event done;
    Result<void> outcome;
  };
  auto shared = std::make_shared<Shared>(home);
  const auto ask = [](Issuers& self,
                      std::string url,
                      std::string id,
                      Deadline until,
                      Loop& back,
                      std::shared_ptr<Shared> answer) -> Async<> {
    auto outcome = co_await self.want_key_here(std::move(url), std::move(id), until);
    back.submit([answer = std::move(answer), outcome = std::move(outcome)]() mutable {
      answer->outcome = std::move(outcome);
      answer->done.set();
    });
  };
  loop_.submit([this,
                ask,
                shared,
                &home,
                deadline,
                url = std::move(issuer_url),
                id = std::move(kid)]() mutable {
    scope_.spawn(ask(*this, std::move(url), std::move(id), deadline, home, std::move(shared)));
  });
  MERIDIAN_CO_CHECK(to_result(co_await shared->done.wait(deadline), what));
  co_return std::move(shared->outcome);
}

}  // namespace meridian
