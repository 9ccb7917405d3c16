#pragma once
// An ingest rule as it was compiled from its settings: which messages it takes, whom it takes them
// from, and the statements that make rows of them.

#include "base/result.h"
#include "base/time.h"
#include "streams/message_fields.h"
#include "streams/producer.h"
#include "wire/postgres/sql/rule_statement.h"
#include "wire/protobuf/fields.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace meridian {

struct RuleSettings {
  std::string name{};
  std::string subject{};
  std::string stream{};  // Empty: found by the subject, or made.
  std::string role{};
  std::string sql{};
  std::string rollback{};                            // Empty: the rule declares none.
  std::shared_ptr<const protobuf::Schema> schema{};  // Of payloads; null: they are JSON.
  std::string key{};  // "{customer}": what messages keep their order by. Empty: by nothing.

  bool identity_required = true;
  std::vector<std::string> roles{};     // Of the producer; empty: any.
  std::vector<std::string> issuers{};   // Likewise.
  std::vector<std::string> subjects{};  // Likewise.

  std::size_t workers = 2;
  std::size_t batch_messages_max = 500;
  std::size_t batch_bytes_max = 4uz * 1024 * 1024;
  Duration ack_wait = std::chrono::seconds(30);
  Duration statement_timeout = std::chrono::seconds(30);
  Duration retention = std::chrono::days(7);  // Of a stream that we make.
  std::int64_t replicas = 1;                  // Likewise.
  std::size_t dead_letters_max = 1'000'000;

  friend bool operator==(const RuleSettings&, const RuleSettings&) = default;
};

class Rule {
 public:
  // Errors: invalid, naming the setting.
  static Result<Rule> compile(RuleSettings settings);

  const RuleSettings& settings() const noexcept { return settings_; }
  const std::string& name() const noexcept { return settings_.name; }
  const postgres::RuleStatement& statement() const noexcept { return statement_; }
  // Of the statement's parameters, in their order.
  const std::vector<MessageField>& fields() const noexcept { return fields_; }
  // The paths of those that are of the payload, in their order.
  const std::vector<std::string>& payload_paths() const noexcept { return payload_paths_; }
  const std::optional<MessageField>& key() const noexcept { return key_; }

  // Why the rule takes no message of this producer; empty when it does.
  std::string refusal(const Producer& producer) const;

 private:
  RuleSettings settings_;
  postgres::RuleStatement statement_;
  std::vector<MessageField> fields_;
  std::vector<std::string> payload_paths_;
  std::optional<MessageField> key_;
};

}  // namespace meridian
