#pragma once
// Meridian's data folder: made on first use, held by one process at a time.
//
//   meridian.lock   who holds it: process, start, doors (JSON); locked while held
//   postgres/       the cluster                         the engine user's
//   redis/          the append-only file                the engine user's
//   nats/           JetStream's streams                the engine user's
//   run/            the engines' sockets                the engine user's
//   keys/           secrets                             ours
//   trail/          the audit trail                     ours
//   log/            what the engines print              ours
//
// Everything is closed to others. When we are root, the engines run as another user, who may pass
// through the folder (mode 0710, his group) to reach what is his. The path of a Unix socket has at
// most 107 bytes (unix(7)): where the folder's own path leaves no room, run/ is a link to a short
// folder in /tmp.
//
// Belongs to the main thread. Everything here blocks on the disk, at start and end only.

#include "base/random.h"
#include "base/result.h"
#include "base/time.h"
#include "engines/owned_file.h"
#include "runtime/file.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <utility>
#include <vector>

namespace meridian {

// The room that a socket's path has, and what is kept for its name in run/ (the longest that an
// engine makes is ".s.PGSQL.65535").
constexpr std::size_t socket_path_size_max = 107;
constexpr std::size_t socket_name_size_max = 16;

struct DataFolderOptions {
  std::filesystem::path path;  // May not exist yet; its parents are made too.

  // Whom the engines run as when we are root. Empty: "postgres" if the system has such a user, else
  // "nobody". Ignored when we are not root: the engines run as ourselves then.
  std::string engine_user{};
};

// A door and where it listens: {"postgres", "127.0.0.1:6432"}.
using DoorAddress = std::pair<std::string, std::string>;

// Who holds a data folder.
struct Holder {
  pid_t process = 0;
  WallTime started{};
  std::vector<DoorAddress> doors{};

  std::string to_json() const;
  static std::optional<Holder> parse(std::string_view json);

  // "process 4711 since 2026-11-21T08:15:30.123456Z, doors: postgres 127.0.0.1:6432"
  std::string to_string() const;
};

// One of the times that a data folder was held by a node.
struct FolderRun {
  std::string folder;        // Drawn when the folder was first used; 32 hexadecimal digits.
  std::uint64_t number = 0;  // Of the run; grows with each.

  std::string to_text() const;
  static std::optional<FolderRun> parse(std::string_view text);
};

class DataFolder {
 public:
  // Makes the folder or takes the one that is there, and holds it until close(). Errors: conflict
  // (somebody holds it, with who), invalid (no folder of ours), denied (its owner, or a parent that
  // the engine user cannot pass), exhausted, unavailable.
  static Result<std::unique_ptr<DataFolder>> open(const DataFolderOptions& options, WallTime now);

  // What the holder of a folder wrote down last; it may have been killed since. Empty when nobody
  // ever held it or the last holder closed it.
  static Result<std::optional<Holder>> holder(const std::filesystem::path& path);

  ~DataFolder() { close(); }

  // Tells others, in the lock file, where our doors are.
  Result<void> record_doors(std::vector<DoorAddress> doors);

  // Begins the next run, durably. All runs of this folder with a smaller number have ended, because
  // they held the lock. Two folders that were copied from one may begin the same run.
  Result<FolderRun> begin_run(Random& random);

  // Lets others have it. The engines have stopped before.
  void close() noexcept;

  const std::filesystem::path& path() const noexcept { return path_; }
  std::filesystem::path postgres() const { return path_ / "postgres"; }
  std::filesystem::path redis() const { return path_ / "redis"; }
  std::filesystem::path nats() const { return path_ / "nats"; }
  std::filesystem::path keys() const { return path_ / "keys"; }
  std::filesystem::path trail() const { return path_ / "trail"; }
  std::filesystem::path log() const { return path_ / "log"; }

  // Where the sockets are: run/, or what it is a link to.
  const std::filesystem::path& run() const noexcept { return run_; }

  // Whom the engines run as; empty: as ourselves.
  const std::optional<Account>& engine_user() const noexcept { return engine_user_; }

 private:
  explicit DataFolder(std::filesystem::path path) : path_(std::move(path)) {}

  Result<void> lock(WallTime now);
  Result<void> write_holder();
  Result<void> admit_engine_user();
  Result<void> make_folders();
  Result<void> make_run_folder();
  Result<void> link_run_folder();

  std::filesystem::path path_;
  std::filesystem::path run_;
  std::optional<Account> engine_user_;
  File lock_;
  Holder holder_;
};

// The folder for sockets that a data folder at `path` would like to have, if socket paths in it are
// short enough.
std::optional<std::filesystem::path> own_run_folder(const std::filesystem::path& path);

}  // namespace meridian
