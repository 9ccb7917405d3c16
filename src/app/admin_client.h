#pragma once
// The command line's way to a running node: HTTP over the Unix socket in its data folder. Blocks.

#include "base/result.h"
#include "wire/json/value.h"

#include <string>
#include <string_view>

namespace meridian {

class AdminClient {
 public:
  explicit AdminClient(std::string data_folder) : socket_(std::move(data_folder) + "/admin.sock") {}

  // The answer as JSON. Errors: unavailable (no node runs on this folder), and what the node says.
  Result<json::Value> get(std::string_view path);
  Result<json::Value> post(std::string_view path, const json::Value& body);

 private:
  Result<json::Value> request(std::string_view path, const std::string* body);

  std::string socket_;
};

}  // namespace meridian
