#pragma once
// HTTP/1.1 requests and responses as values (RFC 9110, RFC 9112).

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace meridian::http {

struct Header {
  std::string name;
  std::string value;
};

struct Request {
  std::string method;  // As sent; methods are case-sensitive.
  std::string target;  // As sent: "/path?query", or "*" for OPTIONS.
  std::vector<Header> headers;
  std::string body;
  bool keep_alive = true;         // Another request may follow on this connection.
  bool expects_continue = false;  // The body comes after "100 Continue" (RFC 9110, 10.1.1).

  // The first of this name, in any case. Headers on which something hangs (Host, Authorization,
  // Content-Type, those of framing) occur at most once, or the decoder has refused.
  std::optional<std::string_view> header(std::string_view name) const noexcept;

  bool is_head() const noexcept { return method == "HEAD"; }
};

struct Response {
  int status = 200;
  std::vector<Header> headers = {};  // Without Content-Length, Connection and Date: the encoder's.
  std::string body = {};
};

// Names of headers and tokens in their values: ASCII letters in either case are the same.
bool equal_without_case(std::string_view a, std::string_view b) noexcept;

// "Not Found"; empty for a status that is not in use here.
std::string_view reason_of(int status) noexcept;

}  // namespace meridian::http
