// Replays the transcripts of a folder against its door: README.md says how they are written.

#include "doors/postgres/door.h"
#include "pool/pool_set.h"
#include "runtime/log.h"
#include "sim/redis_door_node.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

namespace meridian::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

std::string unescape(std::string_view text) {
  std::string bytes;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\' || i + 1 == text.size()) {
      bytes += text[i];
      continue;
    }
    switch (text[++i]) {
      case 'r':
        bytes += '\r';
        break;
      case 'n':
        bytes += '\n';
        break;
      case '0':
        bytes += '\0';
        break;
      case 'x':
        bytes += static_cast<char>(std::stoi(std::string(text.substr(i + 1, 2)), nullptr, 16));
        i += 2;
        break;
      default:
        bytes += text[i];
    }
  }
  return bytes;
}

std::string escape_all(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) {
    if (byte == '\r') {
      text += "\\r";
    } else if (byte == '\n') {
      text += "\\n";
    } else if (byte == '\0') {
      text += "\\0";
    } else if (byte == '\\') {
      text += "\\\\";
    } else if (byte < 0x20 || byte == 0x7f) {
      constexpr std::string_view digits = "0123456789abcdef";
      const auto value = static_cast<unsigned char>(byte);
      text += std::string("\\x") + digits[value >> 4U] + digits[value & 15U];
    } else {
      text += byte;
    }
  }
  return text;
}

// `{*}` in the pattern stands for any bytes.
bool matches(std::string_view pattern, std::string_view bytes) {
  constexpr std::string_view anything = "{*}";
  std::size_t mark = pattern.find(anything);
  if (mark == std::string_view::npos) return pattern == bytes;
  if (!bytes.starts_with(pattern.substr(0, mark))) return false;
  bytes.remove_prefix(mark);
  pattern.remove_prefix(mark + anything.size());
  while ((mark = pattern.find(anything)) != std::string_view::npos) {
    const std::size_t found = bytes.find(pattern.substr(0, mark));
    if (found == std::string_view::npos) return false;
    bytes.remove_prefix(found + mark);
    pattern.remove_prefix(mark + anything.size());
  }
  return bytes.size() >= pattern.size() && bytes.ends_with(pattern);
}

// The postgres door up to the moment at which it needs a backend: there is none.
class PostgresFront {
 public:
  explicit PostgresFront(RedisDoorNode& node)
      : connector_({.endpoint = {}, .tls = nullptr, .tls_name = {}},
                   {.now = [](std::string_view) -> Result<Secret> { return nothing(); },
                    .after = [](std::string, Secret, Deadline) -> Async<Result<Secret>> {
                      co_return nothing();
                    }},
                   blocking_),
        pools_(connector_, node.world.metrics),
        limiter_({}),
        door_(make_postgres_door({.loop = clock_,
                                  .gate = node.world.gate,
                                  .registry = node.registry,
                                  .trail = node.trail(),
                                  .pools = pools_,
                                  .connector = connector_,
                                  .commit_wait = node.commit_wait,
                                  .cancels = cancels_,
                                  .cancel_limiter = limiter_,
                                  .catalog = catalog_,
                                  .timeline = facts_,
                                  .tls = nullptr,
                                  .metrics = node.world.metrics})) {}

  Door& door() noexcept { return *door_; }

 private:
  static std::unexpected<Error> nothing() { return fail(Errc::unavailable, "none"); }

  EpollLoop clock_;  // Never runs: the visits are in virtual time.
  BlockingPool blocking_{1};
  Connector connector_;
  PoolSet pools_;
  CancelKeys cancels_;
  LoginLimiter limiter_;
  Published<ReadOnlyCatalog> catalog_{std::make_shared<const ReadOnlyCatalog>()};
  Published<TimelineFacts> facts_{std::make_shared<const TimelineFacts>()};
  std::unique_ptr<Door> door_;
};

class Replay {
 public:
  Replay(const std::filesystem::path& file, std::size_t piece_size)
      : piece_size_(piece_size), node_(1) {
    std::ifstream in(file);
    for (std::string line; std::getline(in, line);)
      lines_.push_back(line);
    if (file.parent_path().filename() == "postgres") front_.emplace(node_);
  }

  void run() {
    node_.start();
    pass(milliseconds(20));
    for (const std::string& line : lines_)
      step(line);
    compare();
    stream_.reset();
    Scope last(node_.loop);
    last.spawn(node_.stop());
    while (!node_.stopped)
      pass(seconds(1));
    EXPECT_EQ(node_.host.visits_count(), 0U);
  }

 private:
  void pass(Duration time) { (void)node_.loop.run(node_.loop.now().time_since_epoch() + time); }

  void step(const std::string& line) {
    ++line_number_;
    if (line.empty() || line.starts_with('#')) return;
    const std::size_t blank = line.find(' ');
    const std::string word = line.substr(0, blank);
    const std::string rest = blank == std::string::npos ? "" : line.substr(blank + 1);
    if (word == "<") {
      expected_ += unescape(rest);
      expected_line_ = line_number_;
      return;
    }
    if (word == "end") {
      compare();
      EXPECT_TRUE(ended_) << "line " << line_number_ << ": the connection stands";
      return;
    }
    compare();
    if (word == ">") {
      send(unescape(with_tokens(rest)));
    } else if (word == "password") {
      send("p" + sized(with_tokens(rest) + '\0'));
    } else if (word == "startup") {
      send(startup(rest));
    } else if (word == "wait") {
      open();
      pass(seconds(std::stoi(rest)));
      receive();
    } else if (word == "remote") {
      remote_ = true;
    } else if (word == "key") {
      const std::size_t end = rest.find(' ');
      node_.sim_redis.keys()[rest.substr(0, end)] = rest.substr(end + 1);
    } else if (word == "revoke") {
      revoke(rest);
    } else {
      ADD_FAILURE() << "line " << line_number_ << ": " << line;
    }
  }

  // Behind a length that counts itself.
  static std::string sized(const std::string& bytes) {
    const std::size_t size = bytes.size() + 4;
    std::string length;
    for (int shift = 24; shift >= 0; shift -= 8)
      length += static_cast<char>(size >> static_cast<unsigned>(shift) & 0xffU);
    return length + bytes;
  }

  // "3.0 user worker database shop"
  static std::string startup(const std::string& text) {
    std::istringstream words(text);
    std::string version;
    words >> version;
    std::string message{
        '\0', static_cast<char>(version[0] - '0'), '\0', static_cast<char>(version[2] - '0')};
    for (std::string word; words >> word;)
      message += word + '\0';
    return sized(message + '\0');
  }

  void open() {
    if (stream_) return;
    Peer peer;
    peer.address = remote_ ? "192.0.2.7" : "127.0.0.1";
    peer.local = !remote_;
    stream_ = node_.connect({}, peer, front_ ? &front_->door() : nullptr);
  }

  void send(std::string_view bytes) {
    open();
    while (!bytes.empty()) {
      const std::string_view piece = bytes.substr(0, piece_size_);
      (void)stream_->try_write(piece);
      bytes.remove_prefix(piece.size());
      pass(milliseconds(1));
    }
    pass(milliseconds(50));
    receive();
  }

  void receive() {
    std::array<char, 4'096> buffer;
    for (;;) {
      const Transfer transfer = stream_->try_read(buffer);
      if (transfer.status == Transfer::Status::ended || transfer.status == Transfer::Status::failed)
        ended_ = true;
      if (transfer.size == 0) return;
      received_.append(buffer.data(), transfer.size);
    }
  }

  void compare() {
    EXPECT_TRUE(matches(expected_, received_))
        << "line " << expected_line_ << ", pieces of " << piece_size_ << ": it was answered\n< "
        << escape_all(received_);
    expected_.clear();
    received_.clear();
    expected_line_ = line_number_;
  }

  // "${worker:1}", "${worker:1+2s}", "${forged}".
  std::string with_tokens(std::string text) {
    for (std::size_t at = 0; (at = text.find("${", at)) != std::string::npos;) {
      const std::size_t end = text.find('}', at);
      std::string subject = text.substr(at + 2, end - at - 2);
      const auto now = std::chrono::floor<seconds>(node_.loop.wall_now());
      TestClaims claims = node_.world.issuer.claims(now);
      if (const std::size_t plus = subject.find('+'); plus != std::string::npos) {
        claims.expires_at = now + seconds(std::stoi(subject.substr(plus + 1)));
        subject.resize(plus);
      }
      claims.subject = subject;
      const bool forged = subject == "forged";
      const jose::SigningKey& key =
          forged ? other_key_of(jose::Algorithm::es256) : node_.world.issuer.key();
      text.replace(at, end - at + 1, sign(header_of(key), claims.to_json(), key));
    }
    return text;
  }

  void revoke(const std::string& subject) {
    const WallTime now = node_.loop.wall_now();
    Revocation revocation;
    revocation.id = revocation.subject = subject;
    revocation.created_at = now;
    revocation.expires_at = now + std::chrono::hours(1);
    revocation.until = revocation.expires_at;
    revocation.reason = "a test";
    EXPECT_TRUE(node_.world.revocations.add(revocation, now));
    pass(milliseconds(5));
    if (stream_) receive();
  }

  std::size_t piece_size_;
  RedisDoorNode node_;
  std::optional<PostgresFront> front_;
  std::vector<std::string> lines_;
  std::unique_ptr<SimStream> stream_;
  bool remote_ = false;
  bool ended_ = false;
  std::size_t line_number_ = 0;
  std::size_t expected_line_ = 0;
  std::string expected_;
  std::string received_;
};

std::vector<std::filesystem::path> transcripts() {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(MERIDIAN_TRANSCRIPTS)) {
    if (entry.path().extension() == ".txt") files.push_back(entry.path());
  }
  std::ranges::sort(files);
  return files;
}

class Transcript : public ::testing::TestWithParam<std::filesystem::path> {};

TEST_P(Transcript, IsAnsweredAsWritten) {
  set_log_level(LogLevel::error);
  for (const std::size_t piece_size : {std::size_t{1'000'000}, std::size_t{3}, std::size_t{1}})
    Replay(GetParam(), piece_size).run();
}

INSTANTIATE_TEST_SUITE_P(All, Transcript, ::testing::ValuesIn(transcripts()), [](const auto& info) {
  return info.param.parent_path().filename().string() + "_" + info.param.stem().string();
});

}  // namespace
}  // namespace meridian::testing
