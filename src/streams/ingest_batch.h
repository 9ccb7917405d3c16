#pragma once
// The messages of one batch on their way to become rows: what the statement's parameters are for
// each, and which of them become none.

#include "base/result.h"
#include "streams/binary_array.h"
#include "streams/payload_reader.h"
#include "streams/progress.h"
#include "streams/pull.h"
#include "streams/rule.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace meridian {

// What a parameter's type wants its values to be.
enum class ParameterKind : std::uint8_t { text, bytes, json, array, number, number_array };

enum class Fate : std::uint8_t {
  row,        // It is to become one.
  duplicate,  // Another message of the batch has the same id and payload.
  dead,       // It goes to the dead letters.
};

struct IngestMessage {
  explicit IngestMessage(Delivery given);

  Delivery delivery;
  StreamPlace place;
  Producer producer{};
  std::string_view id{};  // Nats-Msg-Id; empty: none.
  Fate fate = Fate::row;
  std::string reason{};  // Of a dead one: "unreadable", "unauthorised", "poison", "id conflict".
  std::string sqlstate{};
  std::string error{};

  void bury(std::string_view why, std::string what, std::string state = {}) {
    fate = Fate::dead;
    reason = why;
    error = std::move(what);
    sqlstate = std::move(state);
  }
};

class IngestBatch {
 public:
  explicit IngestBatch(std::vector<IngestMessage> messages) : messages_(std::move(messages)) {}

  std::vector<IngestMessage>& messages() noexcept { return messages_; }
  const std::vector<IngestMessage>& messages() const noexcept { return messages_; }
  std::size_t count() const noexcept { return messages_.size(); }
  bool any_dead() const noexcept;
  std::vector<StreamPlace> places() const;

  // Reads the values of `rule`'s fields, of these kinds; what cannot be read is buried.
  // `batch_name` is what {meridian.batch} stands for; `mac`: as of parse_producer().
  void read(const Rule& rule,
            PayloadReader& fields,
            const std::vector<ParameterKind>& kinds,
            std::string_view batch_name,
            const StampMac* mac);

  // The publishers' ids as hashes, together with what they are compared within: empty where no
  // message has one.
  struct Ids {
    BinaryArray ids{oid::uuid};
    BinaryArray payloads{oid::int8};
  };
  std::optional<Ids> hash_ids(std::string_view space);

  // The values of one field for these messages.
  BinaryArray column(std::size_t field,
                     ParameterKind kind,
                     const std::vector<std::size_t>& of) const;
  std::optional<std::string_view> value(std::size_t message, std::size_t field) const;

 private:
  struct Span {
    std::size_t begin = 0;
    std::size_t size = 0;
    bool null = false;
  };

  Result<void> read_value(const Rule& rule,
                          std::size_t index,
                          const MessageField& field,
                          ParameterKind kind,
                          const json::Field* found,
                          std::string_view batch_name);
  void put(std::string_view value);
  void put_null() { values_.push_back({.begin = 0, .size = 0, .null = true}); }

  std::vector<IngestMessage> messages_;
  std::size_t fields_count_ = 0;
  std::string bytes_;
  std::vector<Span> values_;  // By message, then by field.
};

// Nanoseconds since 1970 as PostgreSQL reads a timestamptz.
std::string to_timestamp(std::int64_t nanoseconds);

}  // namespace meridian
