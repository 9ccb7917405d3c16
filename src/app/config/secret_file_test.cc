// A secret is its file's one line, and an error about it never holds it.

#include "app/config/secret_file.h"

#include "test/temporary_folder.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace meridian::config {
namespace {

class SecretFileTest : public ::testing::Test {
 protected:
  std::string file_with(const std::string& text) {
    const std::string file = (folder_ / "secret").string();
    std::ofstream(file, std::ios::binary) << text;
    return file;
  }

  TemporaryFolder folder_;
};

TEST_F(SecretFileTest, IsTheLineWithoutItsEnd) {
  for (const std::string ending : {"", "\n", "\r\n"}) {
    const auto secret = read_secret_file(file_with("hunter2 " + ending));
    ASSERT_TRUE(secret) << secret.error().detail();
    EXPECT_EQ(secret->reveal(), "hunter2 ");
  }
  const std::string largest(secret_bytes_max, 'x');
  EXPECT_EQ(read_secret_file(file_with(largest))->reveal(), largest);
}

TEST_F(SecretFileTest, WhatIsNoSecretIsRefusedUnseen) {
  const std::string nul("hunter2\0", 8);
  for (const std::string& text : {std::string(),
                                  std::string("\n"),
                                  std::string("hunter2\nhunter2\n"),
                                  std::string("hunter2\n\n"),
                                  std::string("hun\rter2"),
                                  nul,
                                  std::string(secret_bytes_max + 1, 'x')}) {
    const std::string file = file_with(text);
    const auto secret = read_secret_file(file);
    ASSERT_FALSE(secret) << text.size();
    EXPECT_EQ(secret.error().code(), Errc::invalid);
    EXPECT_TRUE(secret.error().detail().contains(file)) << secret.error().detail();
    EXPECT_FALSE(secret.error().detail().contains("hunter2")) << secret.error().detail();
  }
}

TEST_F(SecretFileTest, AFileThatIsNotThereSaysSo) {
  const auto secret = read_secret_file((folder_ / "nothing").string());
  ASSERT_FALSE(secret);
  EXPECT_EQ(secret.error().code(), Errc::not_found);
  EXPECT_EQ(read_secret_file(folder_.path().string()).error().code(), Errc::unavailable);
}

}  // namespace
}  // namespace meridian::config
