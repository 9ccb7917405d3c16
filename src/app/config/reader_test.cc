// Files are read into exactly what they say, everything that is wrong is said at once, and nothing
// wrong is taken. The bad files are data: test/config/bad.

#include "app/config/reader.h"

#include "app/config/problems.h"
#include "app/config/yaml_document.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <ostream>
#include <string>
#include <vector>

namespace meridian::config {
namespace {

const std::filesystem::path data_folder =
    std::filesystem::path(MERIDIAN_SOURCE_DIR) / "test" / "config";

const Surroundings surroundings{.host_name = "here",
                                .cores_count = 3,
                                .working_folder = "/work",
                                .data_default = "/var/lib/meridian",
                                .data = {},
                                .config_file = {}};

std::string text_of(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  EXPECT_TRUE(stream) << file;
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

Result<Config> read(std::string_view text) {
  return read_config(text, {.name = "meridian.yaml", .folder = "/etc/meridian"}, surroundings);
}

std::vector<std::filesystem::path> bad_files() {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(data_folder / "bad")) {
    if (entry.path().extension() == ".yaml") files.push_back(entry.path());
  }
  std::ranges::sort(files);
  return files;
}

class BadFileTest : public ::testing::TestWithParam<std::filesystem::path> {};

INSTANTIATE_TEST_SUITE_P(Files,
                         BadFileTest,
                         ::testing::ValuesIn(bad_files()),
                         [](const auto& file) { return file.param.stem().string(); });

TEST_P(BadFileTest, IsRefusedWithTheTextBesideIt) {
  const auto config = read(text_of(GetParam()));
  ASSERT_FALSE(config) << "was accepted";
  EXPECT_EQ(config.error().code(), Errc::invalid);
  EXPECT_EQ(config.error().detail() + "\n",
            text_of(std::filesystem::path(GetParam()).replace_extension(".txt")));
}

// A file that ends early must not be taken for a shorter configuration in silence where a value is
// cut: it is refused, or means what its whole lines say.
TEST(Reader, AFileCutAnywhereIsReadOrRefusedWithText) {
  const std::string text = text_of(data_folder / "good" / "shop.yaml");
  for (std::size_t size = 0; size < text.size(); size += 7) {
    const auto config = read(std::string_view(text).substr(0, size));
    if (!config) {
      EXPECT_FALSE(config.error().detail().empty()) << size;
    }
  }
}

TEST(Reader, NothingMeansTheDefaults) {
  const auto config = read("");
  ASSERT_TRUE(config) << config.error().detail();
  EXPECT_EQ(*config, default_config(surroundings));
  EXPECT_EQ(config->node.name, "here");
  EXPECT_EQ(config->node.loops, 3U);
  EXPECT_EQ(config->data, "/var/lib/meridian");
  EXPECT_TRUE(config->timeline.manages_roles());
  EXPECT_EQ(config->listen.postgres.at(0).to_string(), "127.0.0.1:6432");
  EXPECT_EQ(config->listen.redis.at(0).to_string(), "127.0.0.1:6380");
  EXPECT_EQ(config->listen.http.at(0).to_string(), "127.0.0.1:8080");
  EXPECT_TRUE(config->roles.empty()) << "there is no default role";
}

TEST(Reader, SectionsWithNothingInThemMeanTheDefaults) {
  const auto config = read("listen:\nroles:\nviews: {}\nexchange:\n  bind:\n");
  ASSERT_TRUE(config) << config.error().detail();
  EXPECT_EQ(*config, default_config(surroundings));
}

Config shop() {
  auto config = read(text_of(data_folder / "good" / "shop.yaml"));
  EXPECT_TRUE(config) << config.error().detail();
  return config ? *std::move(config) : Config();
}

TEST(Reader, AGoodFileFillsTheNode) {
  const Config config = shop();
  EXPECT_EQ(config.node.name, "front-1.example.com");
  EXPECT_EQ(config.node.loops, 8U);
  EXPECT_EQ(config.log.level, LogLevel::warning);
  EXPECT_EQ(config.data, "/etc/meridian/data");
  ASSERT_EQ(config.listen.postgres.size(), 2U);
  EXPECT_EQ(config.listen.postgres[0].to_string(), "0.0.0.0:6432");
  EXPECT_EQ(config.listen.postgres[1].path, "/run/meridian/postgres.sock");
  EXPECT_EQ(config.listen.redis.at(0).host, "::");
  EXPECT_TRUE(config.listen.http.empty());
  EXPECT_EQ(config.tls.certificate, "/etc/meridian/server.pem");
  EXPECT_EQ(config.tls.key, "/etc/ssl/private/server.key");
  EXPECT_EQ(config.tls.client_ca, "/etc/clients.pem");
}

TEST(Reader, AGoodFileFillsTheServers) {
  const Config config = shop();
  EXPECT_EQ(config.timeline.url,
            "postgres://meridian@db.example.com:5433/shop?sslmode=verify-full");
  EXPECT_EQ(config.timeline.password_file, "/etc/meridian/secrets/timeline");
  EXPECT_EQ(config.timeline.commit_wait, CommitWait::database);
  EXPECT_EQ(config.timeline.commit_wait_max, std::chrono::milliseconds(1'500));
  EXPECT_EQ(config.timeline.nudge_after, std::chrono::microseconds(2'500));
  EXPECT_FALSE(config.timeline.manages_roles()) << "the database is not ours";
  EXPECT_EQ(config.timeline.attribution, Attribution::off);
  EXPECT_EQ(config.redis.links, 4U);
  EXPECT_EQ(config.engines.postgres.shared_buffers, std::nullopt);
  EXPECT_EQ(config.engines.postgres.settings.at("work_mem"), "32MB");
  EXPECT_EQ(config.cache.bytes_max, gibibyte);
  EXPECT_EQ(config.trail.retention, std::chrono::days(400) + std::chrono::hours(12));
}

TEST(Reader, AGoodFileFillsRolesAndViews) {
  const Config config = shop();
  EXPECT_EQ(config.issuers.at("k8s").lifetime_max, std::chrono::hours(12));
  EXPECT_EQ(config.issuers.at("corp").audience, "meridian");
  EXPECT_EQ(config.exchange.bind.at(0).as, "shop");
  const RoleConfig& checkout = config.roles.at("checkout");
  ASSERT_EQ(checkout.bind.size(), 2U);
  EXPECT_EQ(checkout.bind[0].subject, "system:serviceaccount:shop:checkout");
  EXPECT_EQ(checkout.bind[1].claims.at("email_verified"), "true");
  EXPECT_EQ(checkout.bind[1].review_by, std::chrono::sys_days(std::chrono::year(2028) / 2 / 29));
  EXPECT_EQ(checkout.bind[1].on_overdue, OnOverdue::stop);
  EXPECT_EQ(checkout.postgres.visits_max, 200U);
  EXPECT_EQ(checkout.postgres.statement_timeout, std::chrono::seconds(30));
  EXPECT_EQ(checkout.postgres.expiry, Expiry::finish_transaction);
  EXPECT_EQ(checkout.redis.commands, std::vector<std::string>({"DBSIZE", "config|get"}));
  EXPECT_EQ(config.roles.at("order_reader"), RoleConfig());
  EXPECT_EQ(config.views.at("order").key, "order:{id}");
  EXPECT_TRUE(config.views.at("order_lines").query.contains("FROM order_lines\n"));
}

TEST(Reader, EntriesAreBounded) {
  std::string roles = "roles:\n";
  for (int i = 0; i <= 1'000; ++i) {
    roles += "  r" + std::to_string(i) + ":\n";
  }
  EXPECT_EQ(read(roles).error().detail(), "meridian.yaml:2:3: roles: 1001 entries; at most 1000");
  std::string binds = "roles: {a: {bind: [";
  for (int i = 0; i <= 256; ++i) {
    binds += "{issuer: meridian, subject: s},";
  }
  EXPECT_TRUE(read(binds + "]}}").error().detail().contains("257 entries; at most 256"));
}

TEST(Reader, RolesAreManagedAsSaidOrInAnOwnedDatabase) {
  const std::string url = "url: postgres://db/shop";
  EXPECT_FALSE(read("timeline: {manage_roles: false}")->timeline.manages_roles());
  EXPECT_TRUE(read("timeline: {manage_roles: true, " + url + "}")->timeline.manages_roles());
  EXPECT_FALSE(read("timeline: {" + url + "}")->timeline.manages_roles());
}

TEST(Reader, ErrorsStaySmallWhateverTheFile) {
  const std::string long_key(100'000, 'k');
  std::string text;
  for (int i = 0; i < 5; ++i) {
    text += "\"" + long_key + std::to_string(i) + "\": 1\n";
  }
  text += "node: {name: \"" + long_key + "\"}\nlog: {level: \"" + long_key + "\"}\n";
  const auto config = read(text);
  ASSERT_FALSE(config);
  EXPECT_LT(config.error().detail().size(), 8'192U);
}

TEST(Reader, TheEnvironmentNamesTheDataFolderBeforeTheFile) {
  Surroundings named = surroundings;
  named.data = "/srv/meridian";
  const auto config = read_config("data: elsewhere", {}, named);
  ASSERT_TRUE(config);
  EXPECT_EQ(config->data, "/srv/meridian");
}

TEST(Reader, AFileIsReadFromItsFolder) {
  Surroundings here = surroundings;
  here.working_folder = data_folder.string();
  const auto absolute = load_config((data_folder / "good" / "shop.yaml").string(), here);
  ASSERT_TRUE(absolute) << absolute.error().detail();
  EXPECT_EQ(absolute->data, (data_folder / "good" / "data").string());
}

TEST(Reader, AFileThatCannotBeReadSaysWhy) {
  const auto missing = load_config((data_folder / "nowhere.yaml").string(), surroundings);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code(), Errc::not_found);
  EXPECT_TRUE(missing.error().detail().contains("nowhere.yaml")) << missing.error().detail();
  EXPECT_TRUE(missing.error().detail().contains("No such file")) << missing.error().detail();
  const auto folder = load_config(data_folder.string(), surroundings);
  ASSERT_FALSE(folder);
  EXPECT_EQ(folder.error().code(), Errc::unavailable);
}

TEST(Problems, AreInTheOrderOfTheFileAndBounded) {
  Problems problems;
  problems.add({.line = 9, .column = 1}, "b", "second");
  problems.add({.line = 2, .column = 5}, "a", "first");
  problems.add({}, {}, "of the whole file");
  EXPECT_TRUE(problems.has("a"));
  EXPECT_FALSE(problems.has("c"));
  EXPECT_EQ(problems.to_text("f"), "f: of the whole file\nf:2:5: a: first\nf:9:1: b: second");
  for (int i = 0; i < 30; ++i) {
    problems.add({.line = 10, .column = 1}, "c", "more");
  }
  EXPECT_EQ(problems.count(), 33U);
  EXPECT_TRUE(problems.to_text("f").ends_with("\nand 13 more"));
}

TEST(Problems, PathsQuoteWhatIsNoPlainKey) {
  EXPECT_EQ(path_of_key("", "listen"), "listen");
  EXPECT_EQ(path_of_key("roles.a", "bind"), "roles.a.bind");
  EXPECT_EQ(path_of_key("a", "b.c"), "a.\"b.c\"");
  EXPECT_EQ(path_of_key("a", "\x1b[31m"), "a.\"\\x1b[31m\"");
  EXPECT_EQ(path_of_item("roles.a.bind", 2), "roles.a.bind[2]");
}

}  // namespace
}  // namespace meridian::config
