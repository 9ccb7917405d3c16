#pragma once
// The configured issuers and their keys: found by OIDC discovery, fetched in the background, kept
// while an issuer is away, published to all loops.
//
// Each issuer has one fibre, so it has at most one fetch in flight, and fetches begin at least
// `fetch_interval_min` apart whatever tokens ask for. A fetch that fails, or brings no usable key,
// leaves the last good keys in place until `keys_age_max`, with a warning and a metric.
//
// Belongs to the main loop; published() and want_key() are for every loop. It outlives the logins
// that wait for it, and the loops outlive it.

#include "base/result.h"
#include "gate/config.h"
#include "gate/trust.h"
#include "runtime/async.h"
#include "runtime/deadline.h"
#include "runtime/event.h"
#include "runtime/fetcher.h"
#include "runtime/published.h"
#include "runtime/scope.h"

#include <cstddef>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace meridian {

class Counter;
class Gauge;
class Metrics;

class Issuers {
 public:
  // Errors: invalid (a URL that may not be used, a name or URL twice).
  static Result<std::unique_ptr<Issuers>> make(Loop& loop,
                                               Fetcher& fetcher,
                                               Metrics& metrics,
                                               std::span<const IssuerConfig> issuers,
                                               KeyFetchConfig config);
  ~Issuers();

  // Begins to fetch. Does not wait for it: a node starts while its issuers are away.
  void start();

  // Ends all fetches; waiting logins fail.
  Async<> close();

  // Trusts an issuer whose keys need no fetching: this node's own. Called again when they change.
  void trust(TrustedIssuer issuer);

  const Published<Trust>& published() const noexcept { return published_; }

  // Waits until this trusted issuer has a key of this id, fetching at the next permitted time. Any
  // loop. Errors: unauthenticated (its keys were fetched since and this is none of them),
  // unavailable (they could not be fetched, or the deadline is before the next fetch), timeout
  // (of the fetch that was waited for), exhausted (waiters_max), cancelled.
  Async<Result<void>> want_key(std::string issuer_url, std::string kid, Deadline deadline);

 private:
  struct Source;

  Issuers(Loop& loop, Fetcher& fetcher, KeyFetchConfig config);

  Async<> keep_fresh(Source& source);
  Async<Result<void>> fetch(Source& source);
  Async<Result<FetchResponse>> fetch_document(std::string url);
  Async<Result<void>> want_key_here(std::string issuer_url, std::string kid, Deadline deadline);
  void accept_keys(Source& source, jose::KeySet keys);
  void on_failure(Source& source, const Error& error);
  Duration pause_after(const Source& source);
  Error refusal(const Source& source, const std::string& kid) const;
  Error undecided(const Source& source, const std::string& kid) const;

  Loop& loop_;
  Fetcher& fetcher_;
  KeyFetchConfig config_;
  std::vector<std::unique_ptr<Source>> sources_;
  Published<Trust> published_;
  Scope scope_;
};

}  // namespace meridian
