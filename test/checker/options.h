#pragma once
// What the checker is asked to do.

#include <chrono>
#include <cstdint>
#include <string>

namespace checker {

struct Options {
  std::string postgres = "127.0.0.1:6432";
  std::string redis = "127.0.0.1:6380";
  std::string http = "127.0.0.1:8080";
  std::string database = "shop";
  std::string role = "checkout";  // The role that writes.
  std::string writer_token;       // A command that prints a token for the one who writes,
  std::string reader_token;       // and for the one who reads.
  std::chrono::milliseconds duration{10'000};
  unsigned writers = 4;
  unsigned readers = 4;
  unsigned orders = 2'000;      // How many of them are changed and read.
  unsigned pipeline = 32;       // Requests a reader sends at once.
  std::uint64_t reads_min = 0;  // Fewer checked reads than this is a failure.
  std::uint64_t seed = 1;
  // With a soak's schema (test/soak/coherence.sql): more kinds of view, and writers of all kinds.
  bool soak = false;
  std::string direct;           // libpq's connection string of the owner, past Meridian.
  unsigned direct_writers = 0;  // So many of the writers go past Meridian.
  bool direct_floors = false;   // Commits past Meridian are promised to be seen, too.
  unsigned async_writers = 0;   // So many of the writers do not wait for the disk.
  bool faults = false;  // Servers die meanwhile: errors are counted, and do not fail the check.
  bool json = false;
};

// Ends the program on --help. Throws std::runtime_error on what it does not know.
Options parse_options(int argc, char** argv);

}  // namespace checker
