#include "engines/data_folder.h"

#include "base/escape.h"
#include "base/hex.h"
#include "base/number.h"
#include "runtime/log.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <pwd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace meridian {
namespace {

constexpr const char* lock_name = "meridian.lock";
constexpr const char* run_name = "run.number";
constexpr std::size_t run_size_max = 256;
constexpr std::uint64_t run_number_max = std::uint64_t{1} << 62;
constexpr std::size_t holder_size_max = 16uz * 1024;
constexpr mode_t ours_alone = 0700;
constexpr mode_t ours_and_a_passage = 0710;

using FolderDraw = std::array<std::uint8_t, 16>;

std::string shown(const std::filesystem::path& path) {
  return quote(path.native(), 1024);
}

Result<Account> find_account(const std::string& name) {
  std::array<char, 16uz * 1024> buffer;
  passwd entry{};
  passwd* found = nullptr;
  ::getpwnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
  if (!found) return fail(Errc::not_found, "the system has no user " + quote(name));
  if (found->pw_uid == 0) {
    return fail(Errc::invalid,
                "the engines cannot run as " + quote(name) +
                    ", which is root: PostgreSQL refuses that; name another user");
  }
  return Account(found->pw_uid, found->pw_gid);
}

Result<Account> find_engine_user(const std::string& configured) {
  if (!configured.empty()) return find_account(configured);
  if (auto postgres = find_account("postgres")) return *postgres;
  return find_account("nobody");
}

Result<std::filesystem::path> absolute_path(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::path absolute = std::filesystem::absolute(path, error).lexically_normal();
  if (error || path.empty()) return fail(Errc::invalid, shown(path) + " is no path");
  // "/data/" names the same folder as "/data".
  if (!absolute.has_filename()) absolute = absolute.parent_path();
  // The path goes into the engines' configuration files, which are made of lines.
  if (std::ranges::any_of(absolute.native(),
                          [](char c) { return static_cast<unsigned char>(c) < ' ' || c == 127; })) {
    return fail(Errc::invalid, "the data folder's path has control characters: " + shown(absolute));
  }
  return absolute;
}

// Makes a folder that is missing, and gives it this mode and owner either way.
Result<void> make_folder(const std::filesystem::path& path,
                         mode_t mode,
                         std::optional<Account> owner) {
  const bool made = ::mkdir(path.c_str(), ours_alone) == 0;
  if (!made && errno != EEXIST) return fail_at("creating", path, errno);
  if (made && owner && ::chown(path.c_str(), owner->first, owner->second) != 0) {
    return fail_at("changing the owner of", path, errno);
  }
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) return fail_at("looking at", path, errno);
  if (!S_ISDIR(status.st_mode)) return fail(Errc::invalid, shown(path) + " is no folder");
  const uid_t wanted = owner ? owner->first : ::geteuid();
  if (status.st_uid != wanted) {
    return fail(Errc::denied,
                shown(path) + " belongs to user id " + std::to_string(status.st_uid) +
                    ", and must belong to " + std::to_string(wanted) +
                    ": start Meridian (or its engines) as the user who did before, or change the "
                    "owner with chown -R");
  }
  if ((status.st_mode & 07777) != mode && ::chmod(path.c_str(), mode) != 0) {
    return fail_at("changing the mode of", path, errno);
  }
  return {};
}

// Refuses to take a folder that has something else in it: a mistyped path must not change the mode
// of somebody's home.
Result<void> check_is_ours(const std::filesystem::path& path) {
  std::error_code error;
  if (std::filesystem::exists(path / lock_name, error)) return {};
  for (std::filesystem::directory_iterator it(path, error), end; !error && it != end;
       it.increment(error)) {
    if (it->path().filename() != "lost+found") {
      return fail(Errc::invalid,
                  shown(path) + " is no data folder of Meridian, and not empty (it has " +
                      shown(it->path().filename()) + "); choose another folder");
    }
  }
  if (error) return fail_at("reading", path, error.value());
  return {};
}

bool may_pass(const struct stat& folder, const Account& account) {
  const auto [user, group] = account;
  if (folder.st_uid == user) return (folder.st_mode & S_IXUSR) != 0;
  if (folder.st_gid == group) return (folder.st_mode & S_IXGRP) != 0;
  return (folder.st_mode & S_IXOTH) != 0;
}

}  // namespace

std::string Holder::to_json() const {
  nlohmann::ordered_json json;
  json["process"] = process;
  json["started"] = to_rfc3339(started);
  json["doors"] = nlohmann::ordered_json::object();
  for (const auto& [door, address] : doors)
    json["doors"][door] = address;
  return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

std::optional<Holder> Holder::parse(std::string_view json) {
  const auto root = nlohmann::ordered_json::parse(json, nullptr, false);
  if (!root.is_object()) return std::nullopt;
  const auto process = root.find("process");
  const auto started = root.find("started");
  const auto doors = root.find("doors");
  Holder holder;
  if (process == root.end() || !process->is_number_integer()) return std::nullopt;
  const auto number = process->get<std::int64_t>();
  if (number <= 0 || number > INT32_MAX) return std::nullopt;
  holder.process = static_cast<pid_t>(number);
  if (started == root.end() || !started->is_string() ||
      !parse_rfc3339(started->get<std::string>(), holder.started)) {
    return std::nullopt;
  }
  if (doors == root.end() || !doors->is_object()) return std::nullopt;
  for (const auto& [door, address] : doors->items()) {
    if (!address.is_string()) return std::nullopt;
    holder.doors.emplace_back(door, address.get<std::string>());
  }
  return holder;
}

std::string Holder::to_string() const {
  std::string text = "process " + std::to_string(process) + " since " + to_rfc3339(started);
  text += doors.empty() ? ", no doors yet" : ", doors: ";
  bool first = true;
  for (const auto& [door, address] : doors) {
    if (!first) text += ", ";
    first = false;
    text += escape(door, 64) + " " + escape(address);
  }
  return text;
}

std::optional<std::filesystem::path> own_run_folder(const std::filesystem::path& path) {
  std::filesystem::path run = path / "run";
  if (run.native().size() + 1 + socket_name_size_max > socket_path_size_max) return std::nullopt;
  return run;
}

Result<std::unique_ptr<DataFolder>> DataFolder::open(const DataFolderOptions& options,
                                                     WallTime now) {
  MERIDIAN_TRY(std::filesystem::path path, absolute_path(options.path));
  std::unique_ptr<DataFolder> folder(new DataFolder(std::move(path)));
  if (::geteuid() == 0) {
    MERIDIAN_TRY(folder->engine_user_, find_engine_user(options.engine_user));
  }
  std::error_code error;
  std::filesystem::create_directories(folder->path_.parent_path(), error);
  if (error) return fail_at("creating", folder->path_.parent_path(), error.value());
  MERIDIAN_CHECK(folder->lock(now));
  MERIDIAN_CHECK(folder->admit_engine_user());
  MERIDIAN_CHECK(folder->make_folders());
  MERIDIAN_CHECK(folder->make_run_folder());
  return folder;
}

Result<void> DataFolder::lock(WallTime now) {
  std::error_code error;
  if (std::filesystem::exists(path_, error)) {
    MERIDIAN_CHECK(check_is_ours(path_));
  }
  const mode_t mode = engine_user_ ? ours_and_a_passage : ours_alone;
  MERIDIAN_CHECK(make_folder(path_, mode, std::nullopt));
  const std::filesystem::path path = path_ / lock_name;
  File file(::open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file.open()) return fail_at("opening", path, errno);
  if (::flock(file.fd(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return fail_at("locking", path, errno);
    const auto who = holder(path_);
    return fail(Errc::conflict,
                "the data folder " + shown(path_) + " is held by " +
                    (who && *who ? (*who)->to_string() : "another process that is starting") +
                    ". Stop that one, or choose another data folder");
  }
  lock_ = std::move(file);
  holder_ = {.process = ::getpid(), .started = now};
  return write_holder();
}

Result<std::optional<Holder>> DataFolder::holder(const std::filesystem::path& path) {
  MERIDIAN_TRY(const auto text, read_file(path / lock_name, holder_size_max));
  if (!text) return std::nullopt;
  return Holder::parse(*text);
}

Result<void> DataFolder::write_holder() {
  // In place: another file of this name would have another lock.
  const std::string text = holder_.to_json();
  const auto size = static_cast<ssize_t>(text.size());
  if (::pwrite(lock_.fd(), text.data(), text.size(), 0) != size ||
      ::ftruncate(lock_.fd(), size) != 0) {
    return fail_at("writing", path_ / lock_name, errno);
  }
  return {};
}

Result<void> DataFolder::record_doors(std::vector<DoorAddress> doors) {
  holder_.doors = std::move(doors);
  return write_holder();
}

std::string FolderRun::to_text() const {
  return folder + " " + std::to_string(number) + "\n";
}

std::optional<FolderRun> FolderRun::parse(std::string_view text) {
  FolderDraw drawn;
  constexpr std::size_t folder_size = 2 * std::tuple_size_v<FolderDraw>;
  if (text.size() <= folder_size + 2 || text[folder_size] != ' ' || !text.ends_with('\n')) {
    return std::nullopt;
  }
  const std::string_view folder = text.substr(0, folder_size);
  if (!from_hex(folder, drawn)) return std::nullopt;
  const auto number =
      parse_number<std::uint64_t>(text.substr(folder_size + 1, text.size() - folder_size - 2));
  if (!number || *number == 0 || *number >= run_number_max) return std::nullopt;
  return FolderRun{.folder = std::string(folder), .number = *number};
}

Result<FolderRun> DataFolder::begin_run(Random& random) {
  const std::filesystem::path path = path_ / run_name;
  MERIDIAN_TRY(const auto text, read_file(path, run_size_max));
  std::optional<FolderRun> run = text ? FolderRun::parse(*text) : std::nullopt;
  if (text && !run) {
    log_warning("engines",
                "the number of the last run cannot be read; the folder counts as a new one, which "
                "waits for the leases of its earlier runs",
                {{"file", path.native()}});
  }
  if (!run) {
    FolderDraw drawn;
    random.fill_secret(drawn);
    run = FolderRun{.folder = to_hex(drawn)};
  }
  ++run->number;
  MERIDIAN_CHECK(replace_file(path, run->to_text()));
  return *std::move(run);
}

// When we are root: the engine user must be able to come to his folders.
Result<void> DataFolder::admit_engine_user() {
  if (!engine_user_) return {};
  if (::chown(path_.c_str(), 0, engine_user_->second) != 0) {
    return fail_at("changing the group of", path_, errno);
  }
  for (std::filesystem::path folder = path_;; folder = folder.parent_path()) {
    struct stat status{};
    if (::stat(folder.c_str(), &status) != 0) return fail_at("looking at", folder, errno);
    if (!may_pass(status, *engine_user_)) {
      return fail(
          Errc::denied,
          "the engines run as user id " + std::to_string(engine_user_->first) +
              ", who may not pass through " + shown(folder) +
              " to the data folder: choose another data folder, or allow it with chmod o+x");
    }
    if (folder == folder.root_path()) return {};
  }
}

Result<void> DataFolder::make_folders() {
  for (const auto& folder : {keys(), trail(), log()}) {
    MERIDIAN_CHECK(make_folder(folder, ours_alone, std::nullopt));
  }
  for (const auto& folder : {postgres(), redis(), nats()}) {
    MERIDIAN_CHECK(make_folder(folder, ours_alone, engine_user_));
  }
  return {};
}

Result<void> DataFolder::make_run_folder() {
  const auto own = own_run_folder(path_);
  if (!own) return link_run_folder();
  if (std::error_code error; std::filesystem::is_symlink(*own, error)) {
    MERIDIAN_CHECK(remove_file(*own));  // From when the path was longer.
  }
  run_ = *own;
  return make_folder(run_, ours_alone, engine_user_);
}

Result<void> DataFolder::link_run_folder() {
  const std::filesystem::path link = path_ / "run";
  const uid_t wanted = engine_user_ ? engine_user_->first : ::geteuid();
  std::error_code error;
  // The one of last time is taken again, if it still is what we made: in /tmp anybody can make a
  // folder of that name, but not one that belongs to the engine user.
  const std::filesystem::path last = std::filesystem::read_symlink(link, error);
  struct stat status{};
  if (!error && ::lstat(last.c_str(), &status) == 0 && S_ISDIR(status.st_mode) &&
      status.st_uid == wanted && (status.st_mode & 0777) == ours_alone) {
    run_ = last;
    return {};
  }
  std::string fresh = "/tmp/meridian-XXXXXX";
  if (!::mkdtemp(fresh.data())) return fail_at("creating", fresh, errno);
  if (engine_user_ && ::chown(fresh.c_str(), engine_user_->first, engine_user_->second) != 0) {
    return fail_at("changing the owner of", fresh, errno);
  }
  std::filesystem::remove_all(link, error);  // A dead link, or the folder of a shorter path.
  if (error) return fail_at("removing", link, error.value());
  if (::symlink(fresh.c_str(), link.c_str()) != 0) return fail_at("linking", link, errno);
  run_ = fresh;
  log_info("engines",
           "the data folder's path is too long for sockets, which go elsewhere",
           {{"folder", path_.native()}, {"sockets", run_.native()}});
  return {};
}

void DataFolder::close() noexcept {
  if (!lock_.open()) return;
  // Only what is empty: a socket in it says that somebody still serves there.
  if (!run_.empty() && run_ != path_ / "run" && ::rmdir(run_.c_str()) == 0) {
    ::unlink((path_ / "run").c_str());
  }
  (void)!::ftruncate(lock_.fd(), 0);
  lock_.close();
}

}  // namespace meridian
