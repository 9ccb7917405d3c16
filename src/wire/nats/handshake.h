#pragma once
// The JSON of INFO and CONNECT (docs.nats.io, NATS Protocol).

#include "base/result.h"
#include "base/secret.h"

#include <cstdint>
#include <string>
#include <string_view>

namespace meridian::nats {

// What a server says of itself, as far as anybody here reads or writes it.
struct ServerInfo {
  std::string server_id;
  std::string server_name;
  std::string version;
  std::string go;
  std::string host;
  std::uint16_t port = 0;
  std::int64_t proto = 1;
  std::int64_t max_payload = 1'048'576;
  std::uint64_t client_id = 0;  // 0: not said.
  std::string client_ip;
  std::string nonce;
  bool headers = false;
  bool jetstream = false;
  bool auth_required = false;
  bool tls_required = false;
  bool tls_available = false;
  bool lame_duck = false;
};

// Errors: invalid. Members of another type than the server gives them count as not there.
Result<ServerInfo> parse_info(std::string_view json);

// A whole INFO. Addresses of other servers are never in it.
void append_info(std::string& out, const ServerInfo& info);

// What a client asks for.
struct ConnectOptions {
  bool verbose = true;  // The server's defaults.
  bool pedantic = true;
  bool echo = true;
  bool headers = false;
  bool no_responders = false;
  std::int64_t protocol = 0;
  std::string name;
  std::string language;
  std::string version;
  std::string user;
  std::string proxy_signature;  // Of the server's nonce, by a proxy that it trusts.
  Secret auth_token;
  Secret password;
  Secret jwt;
};

// Errors: invalid (no JSON object, a member of another type than it must be, or two of one name),
// exhausted. As to the server, names are the same in any case, null says nothing, and what is not
// said stays as it was given.
Result<ConnectOptions> parse_connect(std::string_view json,
                                     std::size_t size_max,
                                     ConnectOptions given = {});

// A whole CONNECT.
void append_connect(std::string& out, const ConnectOptions& options);

}  // namespace meridian::nats
