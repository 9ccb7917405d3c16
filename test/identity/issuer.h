#pragma once
// An issuer for tests: keys, documents served by a simulated fetcher, and tokens.

#include "runtime/sim/sim_fetcher.h"
#include "test/identity/tokens.h"
#include "wire/jose/jws.h"

#include <chrono>
#include <string>
#include <utility>
#include <vector>

namespace meridian::testing {

class TestIssuer {
 public:
  explicit TestIssuer(std::string url = "https://login.example.com",
                      jose::Algorithm algorithm = jose::Algorithm::es256)
      : url_(std::move(url)), key_(&key_of(algorithm)), published_{key_} {}

  const std::string& url() const noexcept { return url_; }
  std::string discovery_url() const { return url_ + "/.well-known/openid-configuration"; }
  std::string keys_url() const { return url_ + "/keys"; }

  std::string discovery() const {
    return R"({"issuer":")" + url_ + R"(","jwks_uri":")" + keys_url() + R"("})";
  }
  std::string jwks() const { return jwks_of(published_); }

  // Answers for both documents, as they are at each request. Must outlive the fetcher's use.
  void serve(SimFetcher& fetcher) {
    fetcher.serve(discovery_url(),
                  [this] { return SimFetcher::Answer{FetchResponse{.body = discovery()}, delay}; });
    fetcher.serve(keys_url(),
                  [this] { return SimFetcher::Answer{FetchResponse{.body = jwks()}, delay}; });
  }

  // Signs with another key from now on, published beside the old one or alone.
  void rotate(const jose::SigningKey& key, bool keep_old = true) {
    if (!keep_old) published_.clear();
    published_.push_back(&key);
    key_ = &key;
  }

  const jose::SigningKey& key() const noexcept { return *key_; }

  // Good claims: issued now, good for five minutes.
  TestClaims claims(WallTime now) const {
    TestClaims claims;
    claims.issuer = url_;
    claims.issued_at = now;
    claims.expires_at = now + std::chrono::minutes(5);
    return claims;
  }
  std::string mint(const TestClaims& claims) const {
    return jose::sign_jws(claims.to_json(), *key_);
  }
  std::string mint(WallTime now, std::string subject = "alice") const {
    TestClaims good = claims(now);
    good.subject = std::move(subject);
    return mint(good);
  }

  Duration delay{};  // Of each document.

 private:
  std::string url_;
  const jose::SigningKey* key_;
  std::vector<const jose::SigningKey*> published_;
};

}  // namespace meridian::testing
