#include "gate/key_folder.h"

#include "base/escape.h"
#include "runtime/file.h"
#include "wire/json/reader.h"
#include "wire/json/writer.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

namespace meridian {
namespace {

constexpr std::size_t file_size_max = 16'384;
constexpr std::string_view suffix = ".key.json";
constexpr std::string_view unfinished_suffix = ".unfinished";
constexpr ::mode_t others = S_IRWXG | S_IRWXO;

std::unexpected<Error> fail_of_system(std::string_view doing, const std::string& path) {
  return fail(Errc::unavailable,
              fmt::format("{} {}: {}", doing, path, std::generic_category().message(errno)));
}

// Ours, and nobody else's to read.
Result<void> check_owner(int fd, const std::string& path) {
  struct stat status{};
  if (::fstat(fd, &status) != 0) return fail_of_system("looking at", path);
  if (status.st_uid != ::geteuid()) {
    return fail(
        Errc::denied,
        fmt::format("{} belongs to user {}, not to this process's user {}; run `chown {} {}`",
                    path,
                    status.st_uid,
                    ::geteuid(),
                    ::geteuid(),
                    path));
  }
  if ((status.st_mode & others) != 0) {
    return fail(Errc::denied,
                fmt::format("{} holds private keys and others may read it (mode {:o}); run "
                            "`chmod go= {}`",
                            path,
                            status.st_mode & 07777,
                            path));
  }
  return {};
}

Result<Secret> read_file(const std::string& path) {
  const File file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!file.open()) return fail_of_system("opening", path);
  MERIDIAN_CHECK(check_owner(file.fd(), path));
  std::string text(file_size_max + 1, '\0');
  const ssize_t size = ::read(file.fd(), text.data(), text.size());
  if (size < 0) return fail_of_system("reading", path);
  if (static_cast<std::size_t>(size) > file_size_max) {
    return fail(Errc::invalid, fmt::format("{} is larger than {} bytes", path, file_size_max));
  }
  Secret content(text.substr(0, static_cast<std::size_t>(size)));
  wipe(text.data(), text.size());
  return content;
}

Result<void> sync(int fd, const std::string& path) {
  if (::fsync(fd) != 0) return fail_of_system("writing", path);
  return {};
}

Result<void> sync_folder(const std::string& path) {
  const File folder(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECTORY));
  if (!folder.open()) return fail_of_system("opening", path);
  return sync(folder.fd(), path);
}

// Written beside its place first, then renamed: a crash leaves the old state or the new one.
Result<void> write_file(const std::string& path, const Secret& content) {
  const std::string unfinished = path + std::string(unfinished_suffix);
  const File file(::open(unfinished.c_str(),
                         O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
                         S_IRUSR | S_IWUSR));
  if (!file.open()) return fail_of_system("making", unfinished);
  std::string_view rest = content.reveal();
  while (!rest.empty()) {
    const ssize_t size = ::write(file.fd(), rest.data(), rest.size());
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return fail_of_system("writing", unfinished);
    rest.remove_prefix(static_cast<std::size_t>(size));
  }
  MERIDIAN_CHECK(sync(file.fd(), unfinished));
  if (::rename(unfinished.c_str(), path.c_str()) != 0)
    return fail_of_system("renaming", unfinished);
  return {};
}

}  // namespace

Result<KeyFolder> KeyFolder::open(std::string path) {
  if (path.empty()) return fail(Errc::invalid, "the folder of this node's keys has no path");
  if (::mkdir(path.c_str(), S_IRWXU) != 0 && errno != EEXIST) return fail_of_system("making", path);
  const File folder(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECTORY));
  if (!folder.open()) return fail_of_system("opening", path);
  MERIDIAN_CHECK(check_owner(folder.fd(), path));
  return KeyFolder(std::move(path));
}

std::string KeyFolder::file_of(std::string_view kid) const {
  return fmt::format("{}/{}{}", path_, kid, suffix);
}

Result<IssuingKey> KeyFolder::load_file(const std::string& name) const {
  const std::string path = path_ + '/' + name;
  const auto refuse = [&](std::string_view why) {
    return fail(Errc::invalid,
                fmt::format("{} is not a signing key of this node: {}; restore it from a backup or "
                            "remove it",
                            path,
                            why));
  };
  MERIDIAN_TRY(const Secret content, read_file(path));
  const auto parsed = json::parse(content.reveal());
  if (!parsed) return refuse(parsed.error().detail());
  const auto kid = parsed->string_at("kid");
  if (!kid) return refuse(kid.error().detail());
  const auto signs_from = parsed->string_at("signs_from");
  if (!signs_from) return refuse(signs_from.error().detail());
  const auto pem = parsed->string_at("private_key");
  if (!pem) return refuse(pem.error().detail());
  WallTime time;
  if (!parse_rfc3339(*signs_from, time)) return refuse("signs_from is not a time");
  auto key = jose::SigningKey::from_pem(*pem, jose::Algorithm::es256);
  if (!key) return refuse(key.error().detail());
  // The id is the key's thumbprint, so a file whose key was swapped gives itself away.
  if (*kid != key->kid() || name != key->kid() + std::string(suffix)) {
    return refuse("its key is not the one that its name and its kid say");
  }
  return IssuingKey{.key = *std::move(key), .signs_from = time};
}

Result<std::vector<IssuingKey>> KeyFolder::load() const {
  std::error_code error;
  std::vector<std::string> names;
  for (std::filesystem::directory_iterator entry(path_, error), end; !error && entry != end;
       entry.increment(error)) {
    names.push_back(entry->path().filename().string());
  }
  if (error) return fail(Errc::unavailable, fmt::format("reading {}: {}", path_, error.message()));
  std::ranges::sort(names);
  std::vector<IssuingKey> keys;
  for (const std::string& name : names) {
    if (!name.ends_with(suffix)) continue;
    MERIDIAN_TRY(IssuingKey key, load_file(name));
    keys.push_back(std::move(key));
  }
  std::ranges::sort(keys, {}, &IssuingKey::signs_from);
  return keys;
}

Result<void> KeyFolder::store(const IssuingKey& key) const {
  const Secret pem = key.key.to_pem();
  json::Writer writer;
  writer.begin_object().member("kid", key.key.kid());
  writer.member("signs_from", to_rfc3339(key.signs_from)).member("private_key", pem.reveal());
  MERIDIAN_CHECK(write_file(file_of(key.key.kid()), Secret(writer.end_object().take())));
  return sync_folder(path_);
}

Result<void> KeyFolder::remove(std::string_view kid) const {
  const std::string path = file_of(kid);
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return fail_of_system("removing", path);
  return sync_folder(path_);
}

}  // namespace meridian
