#include "gate/trail/signing_key.h"

#include "base/assert.h"
#include "base/escape.h"
#include "base/hex.h"
#include "base/secret.h"
#include "gate/trail/disk.h"
#include "runtime/file.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace meridian::trail {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view key_name = "signing.key";
constexpr std::string_view public_suffix = ".pub";
constexpr std::uint64_t pem_bytes_max = 4'096;  // An Ed25519 key needs some 120.
constexpr std::size_t public_keys_max = 1'024;

struct FreeBio {
  void operator()(BIO* bio) const noexcept { ::BIO_free_all(bio); }
};
using Bio = std::unique_ptr<BIO, FreeBio>;

Bio memory_bio(std::string_view text) {
  Bio bio(::BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
  MERIDIAN_ASSERT(bio != nullptr);
  return bio;
}

// What was written into a memory BIO; a view into it.
std::string_view written(const Bio& bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return {data, static_cast<std::size_t>(size)};
}

// A password prompt would block: an encrypted key is refused instead.
int no_password(char* /*buffer*/, int /*size*/, int /*writing*/, void* /*data*/) {
  return -1;
}

bool is_ed25519(const EVP_PKEY* key) {
  return key != nullptr && ::EVP_PKEY_get_id(key) == EVP_PKEY_ED25519;
}

}  // namespace

void SigningKey::Free::operator()(evp_pkey_st* key) const noexcept {
  ::EVP_PKEY_free(key);
}

SigningKey::SigningKey(Key key) : key_(std::move(key)) {
  std::size_t size = public_key_.size();
  MERIDIAN_ASSERT(::EVP_PKEY_get_raw_public_key(key_.get(), public_key_.data(), &size) == 1 &&
                  size == public_key_.size());
}

Result<SigningKey> SigningKey::load_or_make(const fs::path& folder, Random& random) {
  MERIDIAN_CHECK(make_folder(folder));
  const fs::path path = folder / key_name;
  auto key = load(path);
  if (!key && key.error().code() == Errc::not_found) {
    MERIDIAN_CHECK(make(path, random));
    key = load(path);
  }
  if (!key) return std::unexpected(key.error());
  MERIDIAN_CHECK(key->publish(folder));
  return key;
}

Result<SigningKey> SigningKey::load(const fs::path& path) {
  const File file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!file.open()) return fail_errno("open", path, errno);
  struct stat status{};
  if (::fstat(file.fd(), &status) != 0) return fail_errno("fstat", path, errno);
  if ((status.st_mode & 0077) != 0) {
    return fail(Errc::invalid,
                path.string() +
                    " may be read or changed by others than its owner: chmod 600 it, "
                    "or remove it to have a new key made");
  }
  MERIDIAN_TRY(std::string text, read_whole(file, path, pem_bytes_max));
  const Secret pem(std::move(text));
  Key key(
      ::PEM_read_bio_PrivateKey(memory_bio(pem.reveal()).get(), nullptr, &no_password, nullptr));
  if (!is_ed25519(key.get())) {
    return fail(Errc::invalid,
                path.string() +
                    " holds no unencrypted Ed25519 private key in PEM: restore it, or "
                    "remove it to have a new key made");
  }
  return SigningKey(std::move(key));
}

Result<void> SigningKey::make(const fs::path& path, Random& random) {
  std::array<std::uint8_t, 32> seed;
  random.fill_secret(seed);
  const Key key(
      ::EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, seed.data(), seed.size()));
  wipe(reinterpret_cast<char*>(seed.data()), seed.size());
  MERIDIAN_ASSERT(key != nullptr);
  const Bio bio(::BIO_new(::BIO_s_secmem()));
  MERIDIAN_ASSERT(bio != nullptr &&
                  ::PEM_write_bio_PKCS8PrivateKey(
                      bio.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) == 1);
  return write_new(path, written(bio), 0600);
}

Result<void> SigningKey::publish(const fs::path& folder) const {
  const fs::path path = folder / (short_name(public_key_) + std::string(public_suffix));
  if (::access(path.c_str(), F_OK) == 0) return {};
  const Bio bio(::BIO_new(::BIO_s_mem()));
  MERIDIAN_ASSERT(bio != nullptr && ::PEM_write_bio_PUBKEY(bio.get(), key_.get()) == 1);
  return write_new(path, written(bio), 0644);
}

Signature SigningKey::sign(Bytes message) const noexcept {
  EVP_MD_CTX* const context = ::EVP_MD_CTX_new();
  Signature signature;
  std::size_t size = signature.size();
  // Ed25519 signs the message itself, so no digest is named (RFC 8032, section 5.1.6).
  MERIDIAN_ASSERT(
      context != nullptr &&
      ::EVP_DigestSignInit(context, nullptr, nullptr, nullptr, key_.get()) == 1 &&
      ::EVP_DigestSign(context, signature.data(), &size, message.data(), message.size()) == 1 &&
      size == signature.size());
  ::EVP_MD_CTX_free(context);
  return signature;
}

bool signature_holds(const PublicKey& key, Bytes message, const Signature& signature) noexcept {
  EVP_PKEY* const raw =
      ::EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, key.data(), key.size());
  if (!raw) return false;
  EVP_MD_CTX* const context = ::EVP_MD_CTX_new();
  MERIDIAN_ASSERT(context != nullptr);
  const bool holds =
      ::EVP_DigestVerifyInit(context, nullptr, nullptr, nullptr, raw) == 1 &&
      ::EVP_DigestVerify(
          context, signature.data(), signature.size(), message.data(), message.size()) == 1;
  ::EVP_MD_CTX_free(context);
  ::EVP_PKEY_free(raw);
  return holds;
}

Result<std::vector<PublicKey>> read_public_keys(const fs::path& path) {
  std::vector<fs::path> paths;
  std::error_code error;
  if (fs::is_directory(path, error)) {
    MERIDIAN_TRY(const auto names, list_names(path));
    for (const std::string& name : names) {
      if (name.ends_with(public_suffix)) paths.push_back(path / name);
    }
  } else if (fs::exists(path, error)) {
    paths.push_back(path);
  }
  if (paths.size() > public_keys_max) {
    return fail(Errc::exhausted,
                path.string() + " holds more than public_keys_max=" +
                    std::to_string(public_keys_max) + " public keys");
  }
  std::vector<PublicKey> keys;
  for (const fs::path& each : paths) {
    const File file(::open(each.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file.open()) return fail_errno("open", each, errno);
    MERIDIAN_TRY(const std::string text, read_whole(file, each, pem_bytes_max));
    EVP_PKEY* const read =
        ::PEM_read_bio_PUBKEY(memory_bio(text).get(), nullptr, &no_password, nullptr);
    PublicKey key;
    std::size_t size = key.size();
    const bool good = is_ed25519(read) &&
                      ::EVP_PKEY_get_raw_public_key(read, key.data(), &size) == 1 &&
                      size == key.size();
    ::EVP_PKEY_free(read);
    if (!good) return fail(Errc::invalid, each.string() + " holds no Ed25519 public key in PEM");
    keys.push_back(key);
  }
  return keys;
}

std::string short_name(const PublicKey& key) {
  return to_hex(std::span(key).first(8));
}

}  // namespace meridian::trail
