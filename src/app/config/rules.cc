#include "app/config/rules.h"

#include "app/config/config.h"
#include "app/config/url.h"
#include "base/escape.h"
#include "wire/nats/subject.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <string>

namespace meridian::config {
namespace {

constexpr std::size_t name_size_max = 63;  // PostgreSQL's NAMEDATALEN, without its NUL.

bool is_lower(char c) noexcept {
  return c >= 'a' && c <= 'z';
}
bool is_letter(char c) noexcept {
  return is_lower(c) || (c >= 'A' && c <= 'Z');
}
bool is_digit(char c) noexcept {
  return c >= '0' && c <= '9';
}

std::unexpected<std::string> wrong(std::string_view text, std::string_view why) {
  return std::unexpected(quote(text) + " " + std::string(why));
}

bool is_any(std::string_view text, std::span<const std::string_view> words) {
  return std::ranges::find(words, text) != words.end();
}

std::unexpected<std::string> has_password(std::string_view setting) {
  return std::unexpected(
      "holds a password; secrets do not live in the configuration: take it out of the URL, put it "
      "into a file and name that in " +
      std::string(setting));
}

// libpq's modes that either verify or say plainly that they do not; `allow` and `prefer` fall back
// to plain text unasked.
Parsed<void> check_timeline_options(const std::optional<std::string>& options) {
  constexpr std::array<std::string_view, 4> modes{"disable", "require", "verify-ca", "verify-full"};
  constexpr std::string_view option = "sslmode=";
  if (!options) return {};
  const std::string_view query = *options;
  if (query.contains("password")) return has_password("timeline.password_file");
  if (!query.starts_with(option) || !is_any(query.substr(option.size()), modes)) {
    return std::unexpected(
        "has options after the ?; the only one is sslmode=disable, require, verify-ca or "
        "verify-full");
  }
  return {};
}

}  // namespace

Parsed<void> check_role_name(std::string_view name) {
  // Words that are no role in SQL, the superuser of new clusters, and ours.
  constexpr std::array<std::string_view, 4> reserved{"public", "none", "postgres", "meridian"};
  if (name.size() > name_size_max) {
    return wrong(name,
                 "has " + std::to_string(name.size()) +
                     " bytes; a role is a PostgreSQL role too, whose name has at most 63");
  }
  const bool begins = !name.empty() && (is_lower(name.front()) || name.front() == '_');
  if (!begins ||
      !std::ranges::all_of(name, [](char c) { return is_lower(c) || is_digit(c) || c == '_'; })) {
    return wrong(name,
                 "is no role name; it is a PostgreSQL identifier: a-z, 0-9 and _, not beginning "
                 "with a digit");
  }
  if (name.starts_with("pg_")) return wrong(name, "is reserved: PostgreSQL keeps names with pg_");
  if (is_any(name, reserved)) {
    return wrong(name,
                 "is reserved for PostgreSQL's or Meridian's own use; choose another role name");
  }
  return {};
}

Parsed<void> check_own_name(std::string_view name) {
  const bool good = !name.empty() && name.size() <= name_size_max && is_letter(name.front()) &&
                    std::ranges::all_of(name, [](char c) {
                      return is_letter(c) || is_digit(c) || c == '_' || c == '-';
                    });
  if (!good) {
    return wrong(name,
                 "is no name; it begins with a letter and has letters, digits, _ and - in it, at "
                 "most 63");
  }
  return {};
}

Parsed<void> check_node_name(std::string_view name) {
  const bool good = !name.empty() && name.size() <= name_size_max &&
                    (is_letter(name.front()) || is_digit(name.front())) &&
                    std::ranges::all_of(name, [](char c) {
                      return is_letter(c) || is_digit(c) || c == '_' || c == '-' || c == '.';
                    });
  if (!good) {
    return wrong(name,
                 "is no node's name; it has letters, digits, ., _ and - in it, at most 63, and "
                 "begins with a letter or digit");
  }
  return {};
}

Parsed<void> check_issuer_name(std::string_view name) {
  if (name == own_issuer_name) {
    return wrong(name, "is Meridian's own issuer, which is always there and set up under token");
  }
  return check_own_name(name);
}

Parsed<void> check_timeline_url(std::string_view text) {
  auto url = parse_url(text);
  if (!url) return std::unexpected(std::move(url).error());
  if (url->scheme != "postgres" && url->scheme != "postgresql") {
    return std::unexpected("has the scheme " + quote(url->scheme, 64) +
                           "; the timeline is a PostgreSQL: postgres://user@host/database");
  }
  if (url->has_password) return has_password("timeline.password_file");
  if (url->has_fragment) return std::unexpected("has a # in it; percent-encode it as %23");
  if (url->path.size() < 2 || url->path.find('/', 1) != std::string::npos) {
    return std::unexpected("names no database; write postgres://user@host/database");
  }
  return check_timeline_options(url->query);
}

Parsed<void> check_redis_url(std::string_view text) {
  auto url = parse_url(text);
  if (!url) return std::unexpected(std::move(url).error());
  if (url->scheme != "redis" && url->scheme != "rediss") {
    return std::unexpected("has the scheme " + quote(url->scheme, 64) +
                           "; write redis://host:port, or rediss:// for TLS");
  }
  if (url->has_password) return has_password("redis.password_file");
  const bool database_zero = url->path.empty() || url->path == "/" || url->path == "/0";
  if (!database_zero || url->query || url->has_fragment) {
    return std::unexpected("goes on after the host; Meridian uses database 0 and no options");
  }
  return {};
}

Parsed<void> check_nats_url(std::string_view text) {
  auto urls = parse_urls(text);
  if (!urls) return std::unexpected(std::move(urls).error());
  const Url& first = urls->front();
  for (const Url& url : *urls) {
    if (url.scheme != "nats" && url.scheme != "tls") {
      return std::unexpected("has the scheme " + quote(url.scheme, 64) +
                             "; write nats://host:port, or tls:// for TLS");
    }
    if (url.has_password) return has_password("nats.password_file");
    if ((!url.path.empty() && url.path != "/") || url.query || url.has_fragment) {
      return std::unexpected("goes on after the host, where NATS has nothing");
    }
    if (url.scheme != first.scheme || url.user != first.user) {
      return std::unexpected(
          "names servers with different schemes or users; Meridian is one "
          "user of one cluster");
    }
  }
  return {};
}

Parsed<void> check_nats_subject(std::string_view pattern) {
  if (!nats::is_pattern(pattern)) {
    return wrong(pattern,
                 "is no subject; write tokens with dots between them, * for one token, and > for "
                 "the rest at the end alone");
  }
  if (nats::first_token(pattern) == "$JS") {
    return wrong(pattern, "is JetStream's; name the streams under consume or manage instead");
  }
  return {};
}

Parsed<void> check_publish_subject(std::string_view subject) {
  const auto shape = [&] {
    return wrong(subject,
                 "is no subject; write tokens with dots between them, the first without a "
                 "wildcard, and names of columns in braces, as in orders.changed.{id}");
  };
  std::string plain;
  std::string_view rest = subject;
  while (!rest.empty()) {
    const std::size_t open = rest.find('{');
    plain += rest.substr(0, open);
    if (open == std::string_view::npos) break;
    const std::size_t close = rest.find('}', open);
    if (close == std::string_view::npos || close == open + 1) return shape();
    const std::string_view name = rest.substr(open + 1, close - open - 1);
    if (name.find_first_of("{. \t*>") != std::string_view::npos) return shape();
    plain += 'x';
    rest.remove_prefix(close + 1);
  }
  if (!nats::is_pattern(plain) || plain.find('}') != std::string::npos) return shape();
  const std::string_view first = nats::first_token(plain);
  if (first.starts_with('$') || first.starts_with("_INBOX") || nats::has_wildcard(first) ||
      subject.starts_with('{')) {
    return wrong(subject,
                 "has to begin with a token of its own: no wildcard, no column, and none of $JS, "
                 "$KV, $SYS and _INBOX, which are NATS's");
  }
  return {};
}

Parsed<void> check_table_name(std::string_view name) {
  const auto part = [](std::string_view text) {
    return !text.empty() && text.size() <= 63 && !(text[0] >= '0' && text[0] <= '9') &&
           std::ranges::all_of(text, [](char c) {
             return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
           });
  };
  const std::size_t dot = name.find('.');
  const bool good = dot == std::string_view::npos
                        ? part(name)
                        : part(name.substr(0, dot)) && part(name.substr(dot + 1));
  if (!good) {
    return wrong(name,
                 "is no table's name; write table or schema.table in lower-case letters, "
                 "digits and _");
  }
  return {};
}

Parsed<void> check_stream_name(std::string_view name) {
  if (name.find_first_of(". \t*>/\\") != std::string_view::npos) {
    return wrong(name, "is no stream's name; it has no dots, spaces, wildcards and slashes");
  }
  return {};
}

Parsed<void> check_nats_stream(std::string_view pattern) {
  std::string_view name = pattern;
  if (name.ends_with('*')) name.remove_suffix(1);
  if (name.find_first_of(". \t*>/\\") != std::string_view::npos || pattern.empty()) {
    return wrong(pattern,
                 "is no stream's name; write it whole, or its beginning with a * at the end");
  }
  return {};
}

Parsed<void> check_issuer_url(std::string_view text) {
  auto url = parse_url(text);
  if (!url) return std::unexpected(std::move(url).error());
  if (url->scheme != "https" && url->scheme != "http") {
    return std::unexpected("has the scheme " + quote(url->scheme, 64) +
                           "; an issuer is an https URL");
  }
  if (!url->user.empty() || url->has_password) {
    return std::unexpected("names a user; an issuer's URL does not");
  }
  if (url->query || url->has_fragment) {
    return std::unexpected("has a ? or # in it; an issuer's URL ends with its path");
  }
  return {};
}

Parsed<void> check_subject(std::string_view text) {
  const auto ends_segment = [](char c) { return c == '/' || c == ':'; };
  bool literal = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '*') {
      literal = literal || !ends_segment(text[i]);
      continue;
    }
    const bool whole = (i == 0 || ends_segment(text[i - 1])) &&
                       (i + 1 == text.size() || ends_segment(text[i + 1]));
    if (!whole) {
      return wrong(text,
                   "has a * beside other text; it stands for one whole segment between / and :, as "
                   "in system:serviceaccount:shop:*");
    }
  }
  if (!literal) return wrong(text, "fits every subject; leave it out and give claims");
  return {};
}

Parsed<void> check_certificate(std::string_view text) {
  if (text == "any") return {};
  for (const std::string_view kind : {"dns:", "uri:", "email:", "cn:"}) {
    if (!text.starts_with(kind)) continue;
    if (text.size() == kind.size()) return wrong(text, "has no name behind the colon");
    if (text.substr(kind.size()) == "*") return wrong(text, "fits every name; say any");
    return check_subject(text);
  }
  return wrong(text, "is neither any nor a name behind dns:, uri:, email: or cn:");
}

Parsed<void> check_database(std::string_view name) {
  if (name.size() > name_size_max) {
    return wrong(name, "has more than 63 bytes, as no database's name does");
  }
  if (name != "*" && name.contains('*')) {
    return wrong(name, "has a * in it; write * alone for all databases, or whole names");
  }
  return {};
}

Parsed<void> check_redis_keys(std::string_view pattern) {
  if (pattern.contains(' ')) {
    return wrong(pattern, "has a space in it; give each pattern by itself");
  }
  return {};
}

Parsed<void> check_redis_command(std::string_view name) {
  const std::size_t bar = name.find('|');
  const auto is_word = [](std::string_view word) {
    return !word.empty() && is_letter(word.front()) && std::ranges::all_of(word, [](char c) {
      return is_letter(c) || is_digit(c) || c == '-' || c == '_' || c == '.';
    });
  };
  const bool good = is_word(name.substr(0, bar)) &&
                    (bar == std::string_view::npos || is_word(name.substr(bar + 1)));
  if (!good) {
    return wrong(name, "is no Redis command; write flushall, or config|get for a subcommand");
  }
  return {};
}

Parsed<void> check_postgres_setting(std::string_view name) {
  // What the promises stand on: where it listens, who gets in, what the feed needs, that a commit
  // is one.
  constexpr std::array<std::string_view, 12> ours{"listen_addresses",
                                                  "port",
                                                  "unix_socket_directories",
                                                  "unix_socket_permissions",
                                                  "hba_file",
                                                  "data_directory",
                                                  "password_encryption",
                                                  "wal_level",
                                                  "fsync",
                                                  "full_page_writes",
                                                  "max_connections",
                                                  "shared_buffers"};
  const bool good = !name.empty() && (is_lower(name.front()) || name.front() == '_') &&
                    std::ranges::all_of(name, [](char c) {
                      return is_lower(c) || is_digit(c) || c == '_' || c == '.';
                    });
  if (!good) return wrong(name, "is no setting of PostgreSQL: lower-case letters, digits, _ and .");
  if (is_any(name, ours) || name.starts_with("include")) {
    return wrong(name,
                 "is set by Meridian itself (max_connections and shared_buffers: beside settings)");
  }
  return {};
}

}  // namespace meridian::config
