#pragma once
// The configuration that Meridian gives to its Redis. It holds the password, so it travels over
// standard input and is never in a file or an argument.

#include "base/secret.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace meridian {

// What Redis does with a write when its memory is used up.
enum class RedisEviction : std::uint8_t {
  refuse,           // noeviction: the write fails with -OOM, and nothing that was kept is lost.
  expiring_oldest,  // volatile-lru: gives up what has a time to live, least recently used first.
  oldest,           // allkeys-lru: the same with all keys.
};

struct RedisServerConfig {
  std::filesystem::path folder;  // Where it keeps its files.
  std::filesystem::path socket;
  Secret password;
  std::uint64_t memory_size_max = 256uz * 1024 * 1024;
  RedisEviction eviction = RedisEviction::refuse;
  bool durable = true;  // An append-only file, synced every second.
};

// redis.conf.
Secret to_redis_conf(const RedisServerConfig& config);

// A word of a line of redis.conf, between double quotes.
std::string quote_redis_word(std::string_view word);

}  // namespace meridian
