// SCRAM: the exchange of RFC 7677 comes out to the letter, and a hostile server gets neither a
// proof for a weak question nor our belief without one of its own.

#include "wire/postgres/scram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace meridian::postgres {
namespace {

// Gives out fixed bytes, so that the client's nonce is known.
class FixedRandom final : public Random {
 public:
  explicit FixedRandom(std::string bytes) : bytes_(std::move(bytes)) {}

  std::uint64_t next() override { return 0; }
  void fill_secret(std::span<std::uint8_t> bytes) override {
    ASSERT_EQ(bytes.size(), bytes_.size());
    std::ranges::copy(bytes_, bytes.begin());
  }

 private:
  std::string bytes_;
};

constexpr std::string_view nonce = "AAAAAAAAAAAAAAAAAAAAAAAA";  // 18 zero bytes in base64.

struct Login {
  ScramPassword password = *ScramPassword::make(Secret("pencil"));
  FixedRandom random{std::string(18, '\0')};
  ScramClient client{password, random};
};

std::string server_first(std::string_view iterations = "4096",
                         std::string_view salt = "W22ZaJ0SNY7soEsUEjb6gQ==") {
  return "r=" + std::string(nonce) + "server,s=" + std::string(salt) +
         ",i=" + std::string(iterations);
}

TEST(Scram, BeginsWithoutChannelBindingAndWithoutAName) {
  EXPECT_EQ(Login().client.first(), "n,,n=,r=" + std::string(nonce));
}

// RFC 7677, section 3.
TEST(Scram, ComesToTheLettersOfTheExampleInTheRfc) {
  ScramPassword password = *ScramPassword::make(Secret("pencil"));
  ScramClient client(password, "user", "rOprNGfwEbeRWgbNEkqO");
  EXPECT_EQ(client.first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
  EXPECT_EQ(client.final("r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
                         "s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"),
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
            "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
  EXPECT_TRUE(client.verify("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
}

// The same password, salt and iterations; worked out with another program (Python's hashlib, hmac).
TEST(Scram, ProvesThePasswordAndBelievesTheServerThatKnowsIt) {
  Login login;
  const auto final = login.client.final(server_first());
  ASSERT_TRUE(final) << final.error().detail();
  EXPECT_EQ(*final,
            "c=biws,r=AAAAAAAAAAAAAAAAAAAAAAAAserver,"
            "p=oeplwaAlJbxe0IBQN7U5egiG77qa/fUzueRcBbsFVKE=");
  EXPECT_TRUE(login.client.verify("v=mJ/smyuQUO8bTUwh4R7CMg3l44IP/mZO8FtQ3z5oNFs="));
}

TEST(Scram, RefusesAWrongServerSignature) {
  Login login;
  ASSERT_TRUE(login.client.final(server_first()));
  for (const std::string_view message : {"v=",
                                         "v=AAAA",
                                         "",
                                         "x=mJ/smyuQUO8bTUwh4R7CMg3l44IP/mZO8FtQ3z5oNFs=",
                                         "v=mJ/smyuQUO8bTUwh4R7CMg3l44IP/mZO8FtQ3z5oNFs=,x=y",
                                         "v=mJ/smyuQUO8bTUwh4R7CMg3l44IP/mZO8FtQ3z5oNFA="}) {
    const auto verified = login.client.verify(message);
    ASSERT_FALSE(verified) << message;
    EXPECT_EQ(verified.error().code(), Errc::invalid);
  }
}

TEST(Scram, ReportsTheServersRefusalAsDenied) {
  Login login;
  ASSERT_TRUE(login.client.final(server_first()));
  const auto refused = login.client.verify("e=invalid-proof");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Errc::denied);
  EXPECT_EQ(refused.error().detail(), "SCRAM: the server refuses: invalid-proof");
  EXPECT_EQ(login.client.verify("e=\x1b[31m").error().detail(),
            "SCRAM: the server refuses: unknown error");
}

TEST(Scram, BelievesNothingBeforeItHasGivenItsProof) {
  Login login;
  EXPECT_FALSE(login.client.verify("v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="));
}

// CVE-2026-6665: a long server nonce overflowed the stack.
TEST(Scram, RefusesNoncesThatAreLongOrNotOurs) {
  const auto with_nonce = [](const std::string& text) {
    return Login().client.final("r=" + text + ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096").has_value();
  };
  const std::string ours(nonce);
  EXPECT_TRUE(with_nonce(ours + "x"));
  EXPECT_TRUE(with_nonce(ours + std::string(512 - ours.size(), 'x')));
  EXPECT_FALSE(with_nonce(ours + std::string(513 - ours.size(), 'x')));
  EXPECT_FALSE(with_nonce(ours + std::string(100'000, 'x')));
  EXPECT_FALSE(with_nonce(ours));
  EXPECT_FALSE(with_nonce("B" + ours.substr(1) + "x"));
  EXPECT_FALSE(with_nonce(ours + "\x01"));
  EXPECT_FALSE(with_nonce(""));
}

// CVE-2026-6669: an unbounded iteration count.
TEST(Scram, RefusesIterationCountsOutsideOfItsBounds) {
  for (const std::string_view iterations :
       {"4095", "100001", "4294967295", "4294971392", "0", "-4096", "", "4096x", " 4096", "1e5"})
    EXPECT_FALSE(Login().client.final(server_first(iterations))) << iterations;
  EXPECT_TRUE(Login().client.final(server_first("4097")));
}

TEST(Scram, RefusesSaltsThatAreEmptyLongOrNoBase64) {
  for (const std::string& salt : std::vector<std::string>{
           "", "A", "AAA", "====", "AB==", "A A=", " AAA", std::string(1024, 'A')})
    EXPECT_FALSE(Login().client.final(server_first("4096", salt))) << salt;
}

TEST(Scram, RefusesMessagesOfAnotherShape) {
  const std::string ours = "r=" + std::string(nonce) + "x";
  for (const std::string& message : {std::string(),
                                     std::string("r="),
                                     ours,
                                     ours + ",s=AAAA",
                                     ours + ",i=4096,s=AAAA",
                                     ours + ",s=AAAA,i=4096,x=y",
                                     "m=ext," + ours + ",s=AAAA,i=4096",
                                     ours + ",s=AAAA,,i=4096"})
    EXPECT_FALSE(Login().client.final(message)) << message;
}

TEST(Scram, KeepsTheDerivedKeysForTheSameSaltAlone) {
  Login login;
  const auto first = login.client.final(server_first());
  ScramClient again(login.password, login.random);
  EXPECT_EQ(again.final(server_first()), *first);
  ScramClient other(login.password, login.random);
  EXPECT_NE(other.final(server_first("4096", "AAAA")), *first);
  ScramClient back(login.password, login.random);
  EXPECT_EQ(back.final(server_first()), *first);
}

// The StoredKey and ServerKey of RFC 7677's example, as other programs print them.
TEST(Scram, MakesTheVerifierThatPostgresKeeps) {
  const std::vector<std::uint8_t> salt = {0x5b,
                                          0x6d,
                                          0x99,
                                          0x68,
                                          0x9d,
                                          0x12,
                                          0x35,
                                          0x8e,
                                          0xec,
                                          0xa0,
                                          0x4b,
                                          0x14,
                                          0x12,
                                          0x36,
                                          0xfa,
                                          0x81};
  EXPECT_EQ(
      *make_scram_verifier(Secret("pencil"), salt),
      "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
      "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=");
}

TEST(Scram, RefusesPasswordsThatWouldNeedPreparation) {
  EXPECT_TRUE(ScramPassword::make(Secret("a b~!")));
  for (const char* const password : {"", "p\xc3\xa9ncil", "a\nb", "\x7f"}) {
    EXPECT_FALSE(ScramPassword::make(Secret(password)));
    EXPECT_FALSE(make_scram_verifier(Secret(password), std::vector<std::uint8_t>(16)));
  }
}

}  // namespace
}  // namespace meridian::postgres
