// TLS over simulated wires that delay and split: what is sent arrives, each side verifies the
// other, and a new certificate is for connections to come.

#include "runtime/tls.h"

#include "runtime/scope.h"
#include "runtime/sim/sim_stream.h"
#include "test/temporary_folder.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace meridian {
namespace {

using std::chrono::microseconds;
using std::chrono::seconds;

// Writes a fresh key and a certificate for the name that it signed itself.
void make_certificate(const std::string& name,
                      const std::string& certificate_file,
                      const std::string& key_file) {
  const std::unique_ptr<EVP_PKEY, void (*)(EVP_PKEY*)> key(::EVP_EC_gen("P-256"), ::EVP_PKEY_free);
  const std::unique_ptr<X509, void (*)(X509*)> certificate(::X509_new(), ::X509_free);
  ::X509_set_version(certificate.get(), 2);
  ::ASN1_INTEGER_set(::X509_get_serialNumber(certificate.get()), 1);
  ::X509_gmtime_adj(::X509_getm_notBefore(certificate.get()), -3'600);
  ::X509_gmtime_adj(::X509_getm_notAfter(certificate.get()), 3'600);
  ::X509_set_pubkey(certificate.get(), key.get());
  X509_NAME* const subject = ::X509_get_subject_name(certificate.get());
  ::X509_NAME_add_entry_by_txt(
      subject, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  ::X509_set_issuer_name(certificate.get(), subject);
  const std::string names = "DNS:" + name;
  X509_EXTENSION* const extension =
      ::X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, names.c_str());
  ::X509_add_ext(certificate.get(), extension, -1);
  ::X509_EXTENSION_free(extension);
  ASSERT_GT(::X509_sign(certificate.get(), key.get(), ::EVP_sha256()), 0);
  const auto write = [](const std::string& path, auto put) {
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "w"),
                                                               std::fclose);
    ASSERT_NE(file, nullptr);
    ASSERT_EQ(put(file.get()), 1);
  };
  write(certificate_file,
        [&](std::FILE* file) { return ::PEM_write_X509(file, certificate.get()); });
  write(key_file, [&](std::FILE* file) {
    return ::PEM_write_PrivateKey(file, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  });
}

class TlsTest : public ::testing::TestWithParam<std::uint64_t> {
 protected:
  TlsTest() {
    make_certificate("db.example.com", file("a.pem"), file("a.key"));
    make_certificate("other.example.com", file("b.pem"), file("b.key"));
    put_in_place("a");
  }

  std::string file(const std::string& name) const { return (folder_ / name).string(); }
  void put_in_place(const std::string& name) const {
    for (const char* const end : {".pem", ".key"})
      std::filesystem::copy_file(file(name + end),
                                 file(std::string("server") + end),
                                 std::filesystem::copy_options::overwrite_existing);
  }
  std::unique_ptr<TlsServer> load() const {
    auto server = TlsServer::load({.certificate_file = file("server.pem"),
                                   .key_file = file("server.key"),
                                   .client_ca_file = {}});
    EXPECT_TRUE(server) << server.error().detail();
    return *std::move(server);
  }

  struct Ends {
    Result<std::unique_ptr<TlsStream>> server = fail(Errc::cancelled);
    Result<std::unique_ptr<TlsStream>> client = fail(Errc::cancelled);
  };

  // Both sides shake hands over a fresh wire.
  Ends connect(TlsServer& server,
               const std::string& ca,
               const std::string& name,
               const std::vector<std::string>& alpn = {},
               const std::string& identity = {}) {
    const auto trust = make_tls_client({.server_name = name, .ca_file = ca});
    EXPECT_TRUE(trust) << trust.error().detail();
    if (!identity.empty()) {
      EXPECT_EQ(::SSL_CTX_use_certificate_file(
                    trust->get(), file(identity + ".pem").c_str(), SSL_FILETYPE_PEM),
                1);
      EXPECT_EQ(::SSL_CTX_use_PrivateKey_file(
                    trust->get(), file(identity + ".key").c_str(), SSL_FILETYPE_PEM),
                1);
    }
    auto [ours, theirs] = SimStream::make_pair(
        loop_, {.delay_max = microseconds(300), .piece_size_max = 100, .buffered_max = 700});
    Ends ends;
    Scope scope(loop_);
    scope.spawn([](TlsTest& test,
                   std::unique_ptr<Stream> lower,
                   TlsServer& with,
                   std::span<const std::string> offered,
                   Ends& out) -> Async<> {
      out.server = co_await TlsStream::accept(std::move(lower),
                                              with.context(),
                                              {.deadline = test.loop_.after(seconds(5)),
                                               .alpn = offered,
                                               .alpn_required = !offered.empty()});
    }(*this, std::move(theirs), server, alpn, ends));
    scope.spawn([](TlsTest& test,
                   std::unique_ptr<Stream> lower,
                   std::shared_ptr<ssl_ctx_st> context,
                   std::string_view wanted,
                   std::span<const std::string> offered,
                   Ends& out) -> Async<> {
      out.client = co_await TlsStream::connect(
          std::move(lower),
          std::move(context),
          {.deadline = test.loop_.after(seconds(5)), .alpn = offered, .server_name = wanted});
    }(*this, std::move(ours), *trust, name, alpn, ends));
    EXPECT_TRUE(loop_.run(loop_.now().time_since_epoch() + seconds(60)));
    return ends;
  }

  TemporaryFolder folder_;
  SimLoop loop_{GetParam()};
};

INSTANTIATE_TEST_SUITE_P(Seeds, TlsTest, ::testing::Range<std::uint64_t>(1, 6));

TEST_P(TlsTest, WhatIsSentArrivesBothWaysAndTheEndIsSeen) {
  const auto server = load();
  Ends ends = connect(*server, file("a.pem"), "db.example.com", {"postgresql"});
  ASSERT_TRUE(ends.server) << ends.server.error().detail();
  ASSERT_TRUE(ends.client) << ends.client.error().detail();
  EXPECT_EQ((*ends.client)->alpn(), "postgresql");
  EXPECT_EQ((*ends.client)->version(), "TLSv1.3");
  EXPECT_TRUE((*ends.server)->encrypted());

  const std::string sent(300'000, 'x');
  std::string there;
  std::string back;
  Scope scope(loop_);
  // Each side writes and reads at a time.
  const auto write = [](Stream& stream, std::string_view bytes) -> Async<> {
    EXPECT_TRUE(co_await write_all(stream, bytes, Deadline::never()));
    // There is no room for it yet: the wire takes 700 bytes at a time.
    co_await say_goodbye(stream, Deadline::never());
    EXPECT_TRUE(stream.goodbye_said());
  };
  const auto read = [](Stream& stream, std::string& into) -> Async<> {
    std::array<char, 5'000> buffer;
    for (;;) {
      const auto size = co_await read_some(stream, buffer, Deadline::never());
      EXPECT_TRUE(size);
      if (!size || *size == 0) co_return;
      into.append(buffer.data(), *size);
    }
  };
  scope.spawn(write(**ends.client, sent));
  scope.spawn(write(**ends.server, sent));
  scope.spawn(read(**ends.server, there));
  scope.spawn(read(**ends.client, back));
  EXPECT_TRUE(loop_.run(loop_.now().time_since_epoch() + seconds(600)));
  EXPECT_EQ(there, sent);
  EXPECT_EQ(back, sent);
}

TEST_P(TlsTest, AServerThatIsNotTheOneIsRefused) {
  const auto server = load();
  const Ends name = connect(*server, file("a.pem"), "elsewhere.example.com");
  ASSERT_FALSE(name.client);
  EXPECT_EQ(name.client.error().code(), Errc::invalid) << name.client.error().detail();
  const Ends authority = connect(*server, file("b.pem"), "db.example.com");
  EXPECT_FALSE(authority.client);
  EXPECT_FALSE(authority.server);
}

TEST_P(TlsTest, ACertificateOfTheClientCountsIfItsAuthorityIsOurs) {
  const auto server = TlsServer::load({.certificate_file = file("server.pem"),
                                       .key_file = file("server.key"),
                                       .client_ca_file = file("b.pem")});
  ASSERT_TRUE(server) << server.error().detail();
  const Ends shown = connect(**server, file("a.pem"), "db.example.com", {}, "b");
  ASSERT_TRUE(shown.server) << shown.server.error().detail();
  EXPECT_EQ((*shown.server)->certificate_names(),
            (std::vector<std::string>{"dns:other.example.com", "cn:other.example.com"}));
  const Ends none = connect(**server, file("a.pem"), "db.example.com");
  ASSERT_TRUE(none.server) << none.server.error().detail();
  EXPECT_TRUE((*none.server)->certificate_names().empty());
  const Ends stranger = connect(**server, file("a.pem"), "db.example.com", {}, "a");
  EXPECT_FALSE(stranger.server);
  // Nobody is asked for one without client_ca, so nobody has one.
  const Ends unasked = connect(*load(), file("a.pem"), "db.example.com", {}, "b");
  ASSERT_TRUE(unasked.server);
  EXPECT_TRUE((*unasked.server)->certificate_names().empty());
}

TEST_P(TlsTest, ANewCertificateIsForConnectionsToCome) {
  const auto server = load();
  Ends before = connect(*server, file("a.pem"), "db.example.com");
  ASSERT_TRUE(before.client);
  put_in_place("b");
  EXPECT_TRUE(connect(*server, file("a.pem"), "db.example.com").client);  // Not reloaded yet.
  ASSERT_TRUE(server->reload());
  EXPECT_FALSE(connect(*server, file("a.pem"), "db.example.com").client);
  EXPECT_TRUE(connect(*server, file("b.pem"), "other.example.com").client);
  EXPECT_EQ((*before.client)->try_write("still here").status, Transfer::Status::done);
}

TEST_P(TlsTest, AReloadThatFailsLeavesWhatIsThere) {
  const auto server = load();
  std::filesystem::copy_file(
      file("b.key"), file("server.key"), std::filesystem::copy_options::overwrite_existing);
  const auto reloaded = server->reload();  // The key of another certificate.
  ASSERT_FALSE(reloaded);
  EXPECT_EQ(reloaded.error().code(), Errc::invalid);
  EXPECT_TRUE(connect(*server, file("a.pem"), "db.example.com").client);
  std::filesystem::remove(file("server.pem"));
  EXPECT_FALSE(server->reload());
  EXPECT_TRUE(connect(*server, file("a.pem"), "db.example.com").client);
}

TEST_P(TlsTest, AMissingFileIsNamed) {
  const auto server = TlsServer::load(
      {.certificate_file = file("none.pem"), .key_file = file("server.key"), .client_ca_file = {}});
  ASSERT_FALSE(server);
  EXPECT_TRUE(server.error().detail().contains("none.pem")) << server.error().detail();
}

TEST_P(TlsTest, WhoSpeaksSomethingElseIsRefused) {
  const auto server = load();
  auto [ours, theirs] = SimStream::make_pair(loop_, {});
  std::optional<Errc> code;
  Scope scope(loop_);
  scope.spawn(
      [](std::unique_ptr<Stream> lower, TlsServer& with, std::optional<Errc>& out) -> Async<> {
        auto stream = co_await TlsStream::accept(std::move(lower), with.context(), {});
        if (!stream) out = stream.error().code();
      }(std::move(theirs), *server, code));
  EXPECT_EQ(ours->try_write("GET / HTTP/1.1\r\n\r\n").status, Transfer::Status::done);
  EXPECT_TRUE(loop_.run(loop_.now().time_since_epoch() + seconds(60)));
  EXPECT_EQ(code, Errc::invalid);
}

TEST_P(TlsTest, AHandshakeThatStallsEndsAtItsDeadline) {
  const auto server = load();
  auto [ours, theirs] = SimStream::make_pair(loop_, {});
  std::optional<Errc> code;
  Scope scope(loop_);
  scope.spawn([](Loop& loop,
                 std::unique_ptr<Stream> lower,
                 TlsServer& with,
                 std::optional<Errc>& out) -> Async<> {
    auto stream = co_await TlsStream::accept(
        std::move(lower), with.context(), {.deadline = loop.after(seconds(3))});
    if (!stream) out = stream.error().code();
  }(loop_, std::move(theirs), *server, code));
  EXPECT_TRUE(loop_.run(loop_.now().time_since_epoch() + seconds(60)));
  EXPECT_EQ(code, Errc::timeout);
}

}  // namespace
}  // namespace meridian
