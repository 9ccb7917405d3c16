// The data folder is made for us alone, has one holder, and nothing that is not ours is taken or
// followed.

#include "engines/data_folder.h"

#include "engines/engine_processes.h"
#include "engines/secret_file.h"
#include "runtime/system_random.h"
#include "test/temporary_folder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <set>
#include <sys/stat.h>
#include <unistd.h>

namespace meridian {
namespace {

namespace fs = std::filesystem;

constexpr WallTime started{std::chrono::seconds(1'700'000'000)};

class DataFolders : public testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(::chmod(root_.path().c_str(), 0711), 0); }

  static mode_t mode_of(const fs::path& path) {
    struct stat status{};
    return ::stat(path.c_str(), &status) == 0 ? status.st_mode & 07777 : 0;
  }
  static void write(const fs::path& path, std::string_view text) { std::ofstream(path) << text; }

  TemporaryFolder root_;
};

TEST_F(DataFolders, AreMadeForUsAlone) {
  const auto folder = DataFolder::open({.path = root_ / "a" / "data"}, started);
  ASSERT_TRUE(folder) << folder.error().detail();
  const fs::path data = root_ / "a" / "data";
  EXPECT_EQ((*folder)->path(), data);
  EXPECT_EQ(mode_of(data), ::geteuid() == 0 ? 0710U : 0700U);
  for (const fs::path& inner : {(*folder)->postgres(),
                                (*folder)->redis(),
                                (*folder)->keys(),
                                (*folder)->trail(),
                                (*folder)->log(),
                                (*folder)->run()}) {
    EXPECT_EQ(inner.parent_path(), data);
    EXPECT_EQ(mode_of(inner), 0700U) << inner;
  }
  EXPECT_EQ(mode_of(data / "meridian.lock"), 0600U);
}

TEST_F(DataFolders, AreClosedToOthersAgainWhenTheyWereOpened) {
  const fs::path data = root_ / "data";
  {
    ASSERT_TRUE(DataFolder::open({.path = data}, started));
  }
  ASSERT_EQ(::chmod(data.c_str(), 0777), 0);
  ASSERT_EQ(::chmod((data / "keys").c_str(), 0755), 0);
  ASSERT_TRUE(DataFolder::open({.path = data}, started));
  EXPECT_EQ(mode_of(data) & 07, 0U);
  EXPECT_EQ(mode_of(data / "keys"), 0700U);
}

TEST_F(DataFolders, HaveOneHolder) {
  auto first = DataFolder::open({.path = root_ / "data"}, started);
  ASSERT_TRUE(first) << first.error().detail();
  ASSERT_TRUE((*first)->record_doors({{"postgres", "127.0.0.1:6432"}}));
  const auto second = DataFolder::open({.path = root_ / "data" / "." / ""}, started);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code(), Errc::conflict);
  EXPECT_EQ(second.error().detail(),
            "the data folder \"" + (root_ / "data").native() + "\" is held by process " +
                std::to_string(::getpid()) +
                " since 2023-11-14T22:13:20.000000Z, doors: postgres 127.0.0.1:6432. Stop that "
                "one, or choose another data folder");
  // A shorter record leaves nothing of the longer one.
  ASSERT_TRUE((*first)->record_doors({}));
  const auto holder = DataFolder::holder(root_ / "data");
  ASSERT_TRUE(holder && *holder);
  EXPECT_EQ(
      (*holder)->to_string(),
      "process " + std::to_string(::getpid()) + " since 2023-11-14T22:13:20.000000Z, no doors yet");
  (*first)->close();
  EXPECT_TRUE(DataFolder::open({.path = root_ / "data"}, started));
}

TEST_F(DataFolders, AreFreeWhenTheHolderIsGone) {
  {
    ASSERT_TRUE(DataFolder::open({.path = root_ / "data"}, started));
  }
  const auto holder = DataFolder::holder(root_ / "data");
  ASSERT_TRUE(holder) << holder.error().detail();
  EXPECT_FALSE(*holder);
  const auto never = DataFolder::holder(root_ / "other");
  EXPECT_TRUE(never && !*never);
}

TEST_F(DataFolders, NumberTheirRuns) {
  SystemRandom random;
  const auto next = [&]() -> FolderRun {
    auto folder = DataFolder::open({.path = root_ / "data"}, started);
    EXPECT_TRUE(folder) << folder.error().detail();
    auto run = (*folder)->begin_run(random);
    EXPECT_TRUE(run) << run.error().detail();
    return *run;
  };
  const FolderRun first = next();
  EXPECT_EQ(first.folder.size(), 32U);
  EXPECT_EQ(first.number, 1U);
  const FolderRun second = next();
  EXPECT_EQ(second.folder, first.folder);
  EXPECT_EQ(second.number, 2U);
  // One that cannot be read is none of before: nobody else's number may be taken for ours.
  for (const std::string& text : {std::string(),
                                  std::string("7\n"),
                                  second.folder + " 0\n",
                                  second.folder + " 7",
                                  second.folder + " -7\n",
                                  "x" + second.folder.substr(1) + " 7\n"}) {
    write(root_ / "data" / "run.number", text);
    const FolderRun other = next();
    EXPECT_NE(other.folder, first.folder) << text;
    EXPECT_EQ(other.number, 1U) << text;
  }
}

TEST_F(DataFolders, AreNotTakenFromSomebodyElse) {
  const fs::path home = root_ / "home";
  fs::create_directory(home);
  write(home / "letter", "dear");
  ASSERT_EQ(::chmod(home.c_str(), 0755), 0);
  const auto taken = DataFolder::open({.path = home}, started);
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error().code(), Errc::invalid);
  EXPECT_TRUE(taken.error().detail().contains("letter")) << taken.error().detail();
  EXPECT_EQ(mode_of(home), 0755U);

  const auto file = DataFolder::open({.path = home / "letter"}, started);
  EXPECT_EQ(file.error().code(), Errc::invalid) << file.error().detail();
  EXPECT_EQ(DataFolder::open({.path = ""}, started).error().code(), Errc::invalid);
  EXPECT_EQ(DataFolder::open({.path = root_ / "a\nb"}, started).error().code(), Errc::invalid);
  if (::geteuid() != 0) return;
  const fs::path others = root_ / "others";
  fs::create_directory(others);
  ASSERT_EQ(::chown(others.c_str(), 65534, 65534), 0);
  EXPECT_EQ(DataFolder::open({.path = others}, started).error().code(), Errc::denied);
}

TEST_F(DataFolders, LetTheEngineUserPassAndSayWhoStopsHim) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root has another user for the engines";
  auto folder = DataFolder::open({.path = root_ / "data", .engine_user = "nobody"}, started);
  ASSERT_TRUE(folder) << folder.error().detail();
  ASSERT_TRUE((*folder)->engine_user());
  const auto [user, group] = *(*folder)->engine_user();
  for (const auto* const name : {"postgres", "redis", "run"}) {
    struct stat status{};
    ASSERT_EQ(::stat((root_ / "data" / name).c_str(), &status), 0);
    EXPECT_EQ(status.st_uid, user);
  }
  struct stat status{};
  ASSERT_EQ(::stat((root_ / "data").c_str(), &status), 0);
  EXPECT_EQ(status.st_uid, 0U);
  EXPECT_EQ(status.st_gid, group);
  (*folder)->close();

  ASSERT_EQ(::chmod(root_.path().c_str(), 0700), 0);
  const auto stopped = DataFolder::open({.path = root_ / "data", .engine_user = "nobody"}, started);
  EXPECT_EQ(stopped.error().code(), Errc::denied);
  EXPECT_TRUE(
      stopped.error().detail().contains("may not pass through \"" + root_.path().native() + "\""))
      << stopped.error().detail();
  ASSERT_EQ(::chmod(root_.path().c_str(), 0711), 0);

  // The folders belong to the user of before.
  const auto other = DataFolder::open({.path = root_ / "data", .engine_user = "daemon"}, started);
  EXPECT_EQ(other.error().code(), Errc::denied);
  EXPECT_TRUE(other.error().detail().contains("chown -R")) << other.error().detail();
  EXPECT_EQ(
      DataFolder::open({.path = root_ / "data", .engine_user = "root"}, started).error().code(),
      Errc::invalid);
  EXPECT_EQ(
      DataFolder::open({.path = root_ / "data", .engine_user = "no-such"}, started).error().code(),
      Errc::not_found);
}

TEST_F(DataFolders, WithALongPathHaveTheirSocketsElsewhere) {
  // The longest path whose sockets still fit, and one byte more.
  const std::size_t longest = socket_path_size_max - socket_name_size_max - 1 - 4;
  EXPECT_TRUE(own_run_folder("/" + std::string(longest - 1, 'x')));
  EXPECT_FALSE(own_run_folder("/" + std::string(longest, 'x')));

  const fs::path data = root_ / std::string(longest, 'x');
  fs::path run;
  {
    const auto folder = DataFolder::open({.path = data}, started);
    ASSERT_TRUE(folder) << folder.error().detail();
    run = (*folder)->run();
    EXPECT_TRUE(run.native().starts_with("/tmp/meridian-")) << run;
    EXPECT_EQ(fs::read_symlink(data / "run"), run);
    EXPECT_EQ(mode_of(run), 0700U);
    // Somebody still serves there, so it stays and is found again.
    write(run / "socket", "");
  }
  EXPECT_TRUE(fs::exists(run));
  {
    const auto folder = DataFolder::open({.path = data}, started);
    ASSERT_TRUE(folder) << folder.error().detail();
    EXPECT_EQ((*folder)->run(), run);
    fs::remove(run / "socket");
  }
  EXPECT_FALSE(fs::exists(run));
  EXPECT_FALSE(fs::is_symlink(data / "run"));
}

TEST_F(DataFolders, DoNotTakeALinkThatLeadsElsewhere) {
  const fs::path data = root_ / std::string(socket_path_size_max, 'x');
  {
    ASSERT_TRUE(DataFolder::open({.path = data}, started));
  }
  const fs::path open_to_all = root_ / "open";
  fs::create_directory(open_to_all);
  ASSERT_EQ(::chmod(open_to_all.c_str(), 0777), 0);
  fs::create_symlink(open_to_all, data / "run");
  const auto folder = DataFolder::open({.path = data}, started);
  ASSERT_TRUE(folder) << folder.error().detail();
  EXPECT_NE((*folder)->run(), open_to_all);
  EXPECT_TRUE(fs::exists(open_to_all));
}

TEST(Holders, AreReadAsTheyWereWritten) {
  const Holder holder{
      .process = 4711, .started = started, .doors = {{"redis", "unix:/a \"b\""}, {"x", ""}}};
  const auto read = Holder::parse(holder.to_json());
  ASSERT_TRUE(read);
  EXPECT_EQ(read->process, 4711);
  EXPECT_EQ(read->started, started);
  EXPECT_EQ(read->doors, holder.doors);
}

TEST(Holders, ThatAreHalfOrWrongAreNone) {
  const std::string whole =
      Holder{.process = 1, .started = started, .doors = {{"a", "b"}}}.to_json();
  const std::size_t end = whole.find_last_of('}');
  for (std::size_t size = 0; size <= end; ++size)
    EXPECT_FALSE(Holder::parse(std::string_view(whole).substr(0, size))) << size;
  for (const std::string_view text :
       {R"([])",
        R"({"process":-1,"started":"2023-11-14T22:13:20Z","doors":{}})",
        R"({"process":4294967297,"started":"2023-11-14T22:13:20Z","doors":{}})",
        R"({"process":1.5,"started":"2023-11-14T22:13:20Z","doors":{}})",
        R"({"process":1,"started":"yesterday","doors":{}})",
        R"({"process":1,"started":7,"doors":{}})",
        R"({"process":1,"started":"2023-11-14T22:13:20Z","doors":{"a":1}})",
        R"({"process":1,"started":"2023-11-14T22:13:20Z"})"}) {
    EXPECT_FALSE(Holder::parse(text)) << text;
  }
}

TEST_F(DataFolders, FilesAreReplacedWhole) {
  const fs::path path = root_ / "file";
  ASSERT_TRUE(replace_file(path, "old and long"));
  ASSERT_TRUE(replace_file(path, "new"));
  EXPECT_EQ(*read_file(path, 3), "new");
  EXPECT_EQ(mode_of(path), 0600U);
  EXPECT_EQ(read_file(path, 2).error().code(), Errc::invalid);
  EXPECT_EQ(std::distance(fs::directory_iterator(root_.path()), fs::directory_iterator()), 1);
  ASSERT_TRUE(remove_file(path));
  ASSERT_TRUE(remove_file(path));
  EXPECT_EQ(*read_file(path, 3), std::nullopt);
  EXPECT_EQ(replace_file(root_ / "no" / "file", "x").error().code(), Errc::not_found);
}

TEST_F(DataFolders, LinksInThePlaceOfFilesAreNotFollowed) {
  // What a program of the engine user could plant to make root write or read elsewhere.
  write(root_ / "target", "precious");
  for (const auto* const name : {"file", "file.new"})
    fs::create_symlink(root_ / "target", root_ / name);
  EXPECT_EQ(read_file(root_ / "file", 100).error().code(), Errc::invalid);
  ASSERT_TRUE(replace_file(root_ / "file", "ours"));
  EXPECT_EQ(*read_file(root_ / "target", 100), "precious");
  EXPECT_EQ(*read_file(root_ / "file", 100), "ours");
  ASSERT_EQ(::mkfifo((root_ / "pipe").c_str(), 0600), 0);
  EXPECT_EQ(read_file(root_ / "pipe", 100).error().code(), Errc::invalid);
}

TEST_F(DataFolders, SecretsAreMadeOnceAndKept) {
  SystemRandom random;
  const fs::path path = root_ / "secret";
  EXPECT_FALSE(*load_secret(path));
  const auto made = load_or_make_secret(path, random);
  ASSERT_TRUE(made) << made.error().detail();
  EXPECT_EQ(made->reveal().size(), 43U);
  EXPECT_EQ(mode_of(path), 0600U);
  EXPECT_EQ(*load_or_make_secret(path, random), *made);
  EXPECT_FALSE(*store_new_secret(path, random) == *made);
  for (const std::string& text : {std::string(),
                                  std::string(42, 'a'),
                                  std::string(44, 'a'),
                                  std::string(1'000, 'a'),
                                  std::string(42, 'a') + "+",
                                  std::string(42, 'a') + '\0'}) {
    write(path, text);
    EXPECT_EQ(load_or_make_secret(path, random).error().code(), Errc::invalid) << text.size();
  }
  write(path, std::string(43, 'a') + "\n");  // As an editor leaves it.
  EXPECT_EQ(load_secret(path)->value().reveal(), std::string(43, 'a'));
}

// Gives fixed bytes, to compare with what a reference encoder makes of them.
class FixedRandom final : public Random {
 public:
  explicit FixedRandom(std::uint8_t first) : next_(first) {}
  std::uint64_t next() override { return next_++; }
  void fill_secret(std::span<std::uint8_t> bytes) override {
    for (std::uint8_t& byte : bytes)
      byte = next_++;
  }

 private:
  std::uint8_t next_;
};

TEST(Secrets, AreBase64Url) {
  FixedRandom low(0);
  EXPECT_EQ(make_secret(low).reveal(), "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8");
  FixedRandom high(224);
  EXPECT_EQ(make_secret(high).reveal(), "4OHi4-Tl5ufo6err7O3u7_Dx8vP09fb3-Pn6-_z9_v8");
}

TEST_F(DataFolders, ProcessesAreFoundByWhereTheyWork) {
  EXPECT_TRUE(processes_in(root_.path()).empty());
  EXPECT_TRUE(processes_in(root_ / "none").empty());
  const auto here = processes_in(fs::current_path());
  const auto us = std::ranges::find(here, ::getpid(), &EngineProcess::process);
  ASSERT_NE(us, here.end());
  EXPECT_EQ(us->parent, ::getppid());
  std::ifstream name("/proc/self/comm");
  std::string program;
  std::getline(name, program);
  EXPECT_EQ(us->program, program);
  kill_in(root_.path(), ::getpid());  // We do not work there, so nothing happens.
}

}  // namespace
}  // namespace meridian
