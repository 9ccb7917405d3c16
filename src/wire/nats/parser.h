#pragma once
// Finds operations in the bytes of one side of a NATS connection, however they were split.
//
// The verdict on any bytes is that of nats-server 2.9, with five differences: a bare CR inside of a
// line is bad arguments; so is an LF that ends a line before its arguments, where the server takes
// the next line for them; HMSG of a client is unknown; the line of CONNECT has a bound of its own,
// and so has what the server does not count: white space before the arguments, and what follows an
// operation that has none.

#include "wire/nats/operation.h"

#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>

namespace meridian::nats {

enum class Sender : std::uint8_t { client, server };

struct ParserLimits {
  std::size_t line_size_max = 4'096;  // Of the arguments: max_control_line.
  std::size_t long_line_size_max =
      65'536;  // Of CONNECT and INFO: tokens are long, and lists of servers.
  std::size_t payload_size_max = 1'048'576;  // Headers and payload together.
};

// Why the connection cannot go on.
enum class Fault : std::uint8_t {
  unknown_operation,
  line_too_long,
  payload_too_large,
  bad_arguments,
};

// What the server says before it closes; empty for bad arguments, where it says nothing.
std::string_view to_error_text(Fault fault) noexcept;

class Parser {
 public:
  Parser(Sender sender, ParserLimits limits) : sender_(sender), limits_(limits) {}
  Parser(const Parser&) = delete;
  Parser& operator=(const Parser&) = delete;

  // Takes the next operation off the front of `input`; empty when it is not all there, and then all
  // of `input` was taken. The operation is good until the next call, and while the input's bytes
  // live. After a fault there is no next.
  std::expected<std::optional<Operation>, Fault> next(std::string_view& input);

  void set_payload_size_max(std::size_t size) noexcept {
    limits_.payload_size_max = size;
    last_text_.clear();  // It was judged by the old limit.
  }

  // Forgets what came, and goes by other limits.
  void begin_anew(ParserLimits limits);

  // Whether the sender's messages may have headers; else the line of one is bad arguments.
  void set_headers(bool allowed) noexcept { headers_ = allowed; }

  // After a fault: the subject of the message whose payload did not end where its line said. The
  // server may have said something of the line already. Empty: the fault was another.
  std::string_view broken_subject() const noexcept { return broken_subject_; }

  // Bytes of an operation that is not all there.
  std::size_t pending_size() const noexcept { return pending_.size(); }

 private:
  // The first line of an operation. Its views are into the line.
  struct Line {
    Operation operation{};
    std::size_t size = 0;  // With its end.
    std::size_t headers_size = 0;
    std::size_t message_size = 0;  // Headers and payload.
    bool has_message = false;

    std::size_t whole_size() const noexcept { return size + (has_message ? message_size + 2 : 0); }
  };

  std::optional<Fault> check_unfinished(std::string_view line) const noexcept;
  bool is_too_long(std::string_view line, std::size_t name_size, OperationKind kind) const noexcept;
  std::expected<Line, Fault> read_line(std::string_view line) const;
  void remember(const Line& line, std::string_view text);
  static Operation complete(const Line& line, std::string_view raw);

  Sender sender_;
  ParserLimits limits_;
  bool headers_ = true;
  std::string broken_subject_;
  std::string pending_;          // The beginning of an operation.
  std::size_t needed_size_ = 0;  // Of which the line is there: its whole size.
  std::string taken_;            // The operation that was returned last, if it came in pieces.
  // Messages in a row often begin alike: the last line of one, with its end, and what it says. Its
  // views are into the text.
  std::string last_text_;
  Line last_;
};

}  // namespace meridian::nats
