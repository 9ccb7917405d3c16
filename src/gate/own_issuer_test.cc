// This node's tokens verify with the keys that it publishes, at every moment of a rotation; key
// files that others could have read or changed are not used.

#include "gate/own_issuer.h"

#include "base/metrics.h"
#include "gate/issuers.h"
#include "gate/token_verifier.h"
#include "runtime/sim/sim_fetcher.h"
#include "runtime/sim/sim_loop.h"
#include "test/temporary_folder.h"
#include "wire/jose/jwks.h"
#include "wire/json/reader.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace meridian {
namespace {

using std::chrono::days;
using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

std::string read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}
void write(const std::string& path, std::string_view text) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
}

class OwnIssuerTest : public ::testing::Test {
 protected:
  OwnIssuerTest() {
    issuers_ = *Issuers::make(loop_, fetcher_, metrics_, {}, {});
    config_.url = "http://127.0.0.1:8080";
    config_.folder = folder_ / "keys";
    verifier_.emplace(issuers_->published(),
                      TokenVerifier::Options{.clock_skew = seconds(30), .tokens_cached_max = 1'000},
                      metrics_);
  }
  ~OwnIssuerTest() override {
    Scope last(loop_);
    last.spawn([](OwnIssuerTest& self) -> Async<> {
      if (self.issuer_) co_await self.issuer_->close();
      co_await self.issuers_->close();
    }(*this));
    EXPECT_TRUE(loop_.run(loop_.now().time_since_epoch() + hours(1)));
  }

  // The error's text, or "" when it opened.
  std::string open() {
    auto opened = OwnIssuer::open(loop_, *issuers_, metrics_, config_, seconds(30));
    if (!opened) return opened.error().detail();
    issuer_ = *std::move(opened);
    return "";
  }
  Result<MintedToken> mint(const TokenRequest& request) {
    return issuer_->mint(request, loop_.wall_now(), loop_.random());
  }
  std::string mint_good(std::string subject = "checkout") {
    const auto minted =
        mint({.subject = std::move(subject), .audience = "meridian", .ttl = minutes(5)});
    EXPECT_TRUE(minted) << minted.error().detail();
    return minted->token;
  }
  std::string refusal(std::string_view token) {
    const auto verdict = verifier_->verify(token, loop_.wall_now());
    return verdict.token ? "" : verdict.token.error().detail();
  }
  void pass(Duration time) {
    scope_.spawn([](Loop& loop, Duration asleep) -> Async<> {
      (void)co_await loop.sleep(asleep);  // Without anybody waiting, virtual time stands still.
    }(loop_, time));
    (void)loop_.run(loop_.now().time_since_epoch() + time);
  }
  std::size_t keys_count() { return issuer_->published().get()->keys.size(); }

  SimLoop loop_{1};
  SimFetcher fetcher_{loop_};
  Metrics metrics_;
  TemporaryFolder folder_;
  OwnIssuerConfig config_;
  std::unique_ptr<Issuers> issuers_;
  std::optional<TokenVerifier> verifier_;
  std::unique_ptr<OwnIssuer> issuer_;
  Scope scope_{loop_};
};

TEST_F(OwnIssuerTest, ItsTokensAreGoodHere) {
  ASSERT_EQ(open(), "");
  const auto minted = mint({.subject = "checkout",
                            .audience = "meridian",
                            .ttl = minutes(5),
                            .claims = {{"team", json::Value("orders")}}});
  ASSERT_TRUE(minted) << minted.error().detail();
  const auto verdict = verifier_->verify(minted->token, loop_.wall_now());
  ASSERT_TRUE(verdict.token) << verdict.token.error().detail();
  EXPECT_EQ((*verdict.token)->issuer, "meridian");
  EXPECT_EQ((*verdict.token)->subject, "checkout");
  EXPECT_EQ((*verdict.token)->token_id, minted->token_id);
  EXPECT_EQ((*verdict.token)->expires_at, minted->expires_at);
  EXPECT_EQ(minted->expires_at, loop_.wall_now() + minutes(5));
  EXPECT_EQ((*verdict.token)->claims->string_at("team"), "orders");
}

TEST_F(OwnIssuerTest, TheDocumentsAreThoseThatVerifiersFetch) {
  ASSERT_EQ(open(), "");
  const auto document = json::parse(issuer_->discovery());
  ASSERT_TRUE(document);
  EXPECT_EQ(document->string_at("issuer"), config_.url);
  EXPECT_EQ(document->string_at("jwks_uri"), config_.url + std::string(jwks_path));
  EXPECT_EQ(document->string_at("token_endpoint"), config_.url + std::string(token_path));
  const auto keys = jose::parse_jwks(issuer_->published().get()->jwks);
  ASSERT_TRUE(keys);
  ASSERT_EQ(keys->keys.size(), 1U);
  EXPECT_TRUE(keys->skipped.empty());
  EXPECT_EQ(keys->keys[0]->kid(), keys->keys[0]->thumbprint());
  EXPECT_FALSE(issuer_->published().get()->jwks.contains("\"d\""));
}

TEST_F(OwnIssuerTest, OnlyWhatItsTokensMayHoldIsMinted) {
  ASSERT_EQ(open(), "");
  const auto refusal_of = [&](const TokenRequest& request) {
    const auto minted = mint(request);
    return minted ? "" : minted.error().detail();
  };
  EXPECT_TRUE(refusal_of({.subject = "a", .audience = "m", .ttl = hours(2)}).contains("ttl_max"));
  EXPECT_TRUE(
      refusal_of({.subject = "a", .audience = "m", .ttl = seconds(0)}).contains("from 1 s"));
  EXPECT_TRUE(refusal_of({.subject = "a", .audience = "m", .ttl = -hours(1)}).contains("from 1 s"));
  EXPECT_EQ(refusal_of({.subject = "a", .audience = "m", .ttl = hours(1)}), "");
  EXPECT_TRUE(refusal_of({.subject = "", .audience = "m", .ttl = minutes(1)}).contains("sub"));
  EXPECT_TRUE(refusal_of({.subject = "a\n", .audience = "m", .ttl = minutes(1)}).contains("sub"));
  EXPECT_TRUE(
      refusal_of({.subject = "a\xff", .audience = "m", .ttl = minutes(1)}).contains("UTF-8"));
  EXPECT_TRUE(refusal_of({.subject = "a", .audience = "", .ttl = minutes(1)}).contains("aud"));
  for (const std::string name :
       {"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "origin", "act"}) {
    EXPECT_TRUE(refusal_of({.subject = "a",
                            .audience = "m",
                            .ttl = minutes(1),
                            .claims = {{name, json::Value("x")}}})
                    .contains("by the issuer alone"))
        << name;
  }
  EXPECT_NE(refusal_of({.subject = "a",
                        .audience = "m",
                        .ttl = minutes(1),
                        .claims = {{"x", json::Value("1")}, {"x", json::Value("2")}}}),
            "");
  EXPECT_NE(refusal_of({.subject = "a",
                        .audience = "m",
                        .ttl = minutes(1),
                        .claims = {{"x", json::Value(std::string(15'000, 'x'))}}}),
            "");
}

TEST_F(OwnIssuerTest, EveryTokenVerifiesAtEveryMomentOfARotation) {
  ASSERT_EQ(open(), "");
  issuer_->start();
  std::set<std::string> kids;
  std::vector<std::pair<WallTime, std::string>> live;
  std::size_t keys_max = 0;
  // Half an hour at a time for thirty days: four rotations.
  for (int step = 0; step < 30 * 48; ++step) {
    const auto minted = mint({.subject = "checkout", .audience = "meridian", .ttl = hours(1)});
    ASSERT_TRUE(minted);
    live.emplace_back(minted->expires_at, minted->token);
    for (const auto& [expires_at, token] : live)
      ASSERT_EQ(refusal(token), "") << step;
    const auto keys = issuer_->published().get();
    for (const auto& key : keys->keys)
      kids.insert(key->key.kid());
    keys_max = std::max(keys_max, keys->keys.size());
    pass(minutes(30));
    std::erase_if(live, [&](const auto& item) { return item.first <= loop_.wall_now(); });
  }
  EXPECT_EQ(kids.size(), 5U);
  EXPECT_EQ(keys_max, 2U);
  EXPECT_EQ(std::filesystem::exists(config_.folder), true);
}

TEST_F(OwnIssuerTest, AKeyIsPublishedBeforeItSignsAndAfterwards) {
  ASSERT_EQ(open(), "");
  const std::string first = issuer_->published().get()->keys[0]->key.kid();
  const auto signer = [&] { return issuer_->published().get()->signer(loop_.wall_now()).kid(); };
  const WallTime start = loop_.wall_now();
  const auto rotate_at = [&](Duration after) {
    pass(after - (loop_.wall_now() - start));
    ASSERT_TRUE(issuer_->rotate(loop_.wall_now()));
  };
  rotate_at(days(7) - hours(1) - seconds(1));
  EXPECT_EQ(keys_count(), 1U);
  rotate_at(days(7) - hours(1));
  EXPECT_EQ(keys_count(), 2U);
  EXPECT_EQ(signer(), first);
  rotate_at(days(7) - seconds(1));
  EXPECT_EQ(signer(), first);
  rotate_at(days(7));
  EXPECT_NE(signer(), first);
  EXPECT_EQ(keys_count(), 2U);
  rotate_at(days(7) + hours(1) + seconds(29));
  EXPECT_EQ(keys_count(), 2U);
  rotate_at(days(7) + hours(1) + seconds(30));
  EXPECT_EQ(keys_count(), 1U);
  EXPECT_EQ(signer(), issuer_->published().get()->keys[0]->key.kid());
}

TEST_F(OwnIssuerTest, KeysSurviveARestart) {
  ASSERT_EQ(open(), "");
  const std::string token = mint_good();
  const std::string kid = issuer_->published().get()->keys[0]->key.kid();
  issuer_.reset();
  ASSERT_EQ(open(), "");
  EXPECT_EQ(issuer_->published().get()->keys[0]->key.kid(), kid);
  EXPECT_EQ(refusal(token), "");
  // A node that slept through a rotation publishes the next key before it signs.
  issuer_.reset();
  pass(days(30));
  ASSERT_EQ(open(), "");
  EXPECT_EQ(keys_count(), 2U);
  EXPECT_EQ(issuer_->published().get()->signer(loop_.wall_now()).kid(), kid);
  pass(hours(1));
  EXPECT_NE(issuer_->published().get()->signer(loop_.wall_now()).kid(), kid);
}

TEST_F(OwnIssuerTest, AClockThatIsSetBackLeavesAKeyToSignWith) {
  ASSERT_EQ(open(), "");
  const auto keys = issuer_->published().get();
  EXPECT_EQ(keys->signer(WallTime()).kid(), keys->keys[0]->key.kid());
}

TEST_F(OwnIssuerTest, KeyFilesAreForTheirOwnerAlone) {
  ASSERT_EQ(open(), "");
  struct stat status{};
  ASSERT_EQ(::stat(config_.folder.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0700U);
  for (const auto& entry : std::filesystem::directory_iterator(config_.folder)) {
    ASSERT_EQ(::stat(entry.path().c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0600U);
    ASSERT_EQ(::chmod(entry.path().c_str(), 0640), 0);
  }
  issuer_.reset();
  EXPECT_TRUE(open().contains("others may read it (mode 640); run `chmod go= "));
  for (const auto& entry : std::filesystem::directory_iterator(config_.folder))
    ASSERT_EQ(::chmod(entry.path().c_str(), 0600), 0);
  ASSERT_EQ(::chmod(config_.folder.c_str(), 0755), 0);
  EXPECT_TRUE(open().contains("others may read it (mode 755)"));
}

TEST_F(OwnIssuerTest, SpoiledKeyFilesAreNamedAndNotUsed) {
  ASSERT_EQ(open(), "");
  issuer_.reset();
  const std::string file = std::filesystem::directory_iterator(config_.folder)->path();
  const std::string good = read(file);
  const auto with = [&](std::string_view what, std::string_view instead) {
    std::string text = good;
    const std::size_t at = text.find(what);
    EXPECT_NE(at, std::string::npos);
    return text.replace(at, what.size(), instead);
  };
  const std::string kid(*json::parse(good)->string_at("kid"));
  const std::string spoiled[] = {"",
                                 good.substr(0, good.size() / 2),
                                 good + "x",
                                 with("\"kid\"", "\"kit\""),
                                 with(kid, "x" + kid.substr(1)),
                                 with("signs_from\":\"2026", "signs_from\":\"year"),
                                 with("PRIVATE KEY", "PUBLIC KEY"),
                                 with("private_key", "kid"),
                                 std::string(20'000, ' ')};
  for (const std::string& text : spoiled) {
    write(file, text);
    const std::string refused = open();
    EXPECT_TRUE(refused.contains(file)) << refused;
    EXPECT_FALSE(refused.contains("BEGIN")) << refused;
  }
  // The key of another file under this one's name.
  write(file, good);
  const std::string stranger = config_.folder + "/other.key.json";
  std::filesystem::rename(file, stranger);
  EXPECT_TRUE(open().contains("not the one that its name"));
  // A link to a file elsewhere, and something that is no file.
  std::filesystem::rename(stranger, folder_ / "elsewhere");
  std::filesystem::create_symlink(folder_ / "elsewhere", file);
  EXPECT_TRUE(open().contains("opening " + file));
  std::filesystem::remove(file);
  ASSERT_EQ(::mkfifo(file.c_str(), 0600), 0);
  EXPECT_TRUE(open().contains(file));
  std::filesystem::remove(file);
  // What a crash left unfinished is in nobody's way.
  write(file + ".unfinished", "half");
  EXPECT_EQ(open(), "");
}

TEST_F(OwnIssuerTest, AFolderThatCannotBeUsedIsAnError) {
  config_.folder = folder_ / "no/such/parent";
  EXPECT_TRUE(open().contains("No such file or directory"));
  write(folder_ / "file", "x");
  config_.folder = folder_ / "file";
  EXPECT_TRUE(open().contains("Not a directory"));
  config_.folder.clear();
  EXPECT_TRUE(open().contains("has no path"));
}

TEST_F(OwnIssuerTest, AConfigurationThatCannotBeMeantIsRefused) {
  config_.url = "http://login.example.com";
  EXPECT_TRUE(open().contains("plain http"));
  config_.url = "https://login.example.com/";
  EXPECT_TRUE(open().contains("ends in a slash"));
  config_.url = "https://login.example.com";
  config_.publish_ahead = days(4);
  EXPECT_TRUE(
      open().contains("rotation_interval (7 d) must be at least twice publish_ahead (4 d)"));
}

TEST_F(OwnIssuerTest, ARotationThatFailsLeavesTheOldKeySigning) {
  ASSERT_EQ(open(), "");
  issuer_->start();
  const std::string kid = issuer_->published().get()->keys[0]->key.kid();
  std::filesystem::rename(config_.folder, config_.folder + ".away");
  pass(days(8));
  EXPECT_EQ(issuer_->published().get()->signer(loop_.wall_now()).kid(), kid);
  EXPECT_EQ(refusal(mint_good()), "");
  EXPECT_TRUE(metrics_.to_prometheus().contains("meridian_own_issuer_rotation_failing 1"));
  std::filesystem::rename(config_.folder + ".away", config_.folder);
  pass(hours(2));
  EXPECT_NE(issuer_->published().get()->signer(loop_.wall_now()).kid(), kid);
  EXPECT_EQ(refusal(mint_good()), "");
  EXPECT_TRUE(metrics_.to_prometheus().contains("meridian_own_issuer_rotation_failing 0"));
}

}  // namespace
}  // namespace meridian
