#pragma once
// What a role may do through the nats door, JetStream's requests included: those are messages to
// $JS.API, judged by what their bodies ask for.

#include "base/function_ref.h"
#include "base/result.h"
#include "gate/permissions.h"
#include "gate/subject_rules.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace meridian {

class NatsPermissions {
 public:
  // Errors: invalid, naming the role and what is wrong.
  static Result<NatsPermissions> compile(const std::string& role, const NatsConfig& config);

  // Whether the visit may receive messages of a subject: by this role's rules, or since it is an
  // inbox of its own.
  using MayReceive = FunctionRef<bool(std::string_view subject)>;

  // Whether a message may be published. `payload` counts where the subject is one of JetStream's.
  Decision decide_publish(std::string_view subject,
                          std::string_view payload,
                          MayReceive may_receive) const;

  const SubjectRules& subscribe() const noexcept { return subscribe_; }
  Decision decide_queue(std::string_view queue) const noexcept;

  // Whether a header that tells JetStream what to do (Nats-Expected-*, Nats-Rollup, ...) may be
  // set. Names are compared as HTTP does; other headers are no business of it.
  Decision decide_header(std::string_view name) const noexcept;
  static bool is_control_header(std::string_view name) noexcept;

  const NatsConfig& limits() const noexcept { return config_; }
  std::string_view way_in() const noexcept { return way_in_; }

 private:
  struct StreamRule {
    std::string pattern;  // A name, or `prefix*`.
    std::string text;
  };
  using StreamRules = std::vector<StreamRule>;

  static Result<StreamRules> compile_streams(std::string_view what,
                                             const std::vector<std::string>& patterns);
  static const StreamRule* find(const StreamRules& rules, std::string_view stream) noexcept;
  Decision denied() const noexcept { return {.allowed = false, .rule = jetstream_denial_}; }
  Decision allow_by(const StreamRule* rule) const noexcept;
  Decision decide_jetstream(std::string_view subject,
                            std::string_view payload,
                            MayReceive may_receive) const;
  Decision decide_stream_request(std::string_view verb,
                                 std::string_view rest,
                                 std::string_view payload) const;
  Decision decide_consumer_request(std::string_view verb,
                                   std::string_view rest,
                                   std::string_view payload,
                                   MayReceive may_receive) const;
  Decision decide_stream_names(std::string_view payload) const;
  bool may_define(std::string_view stream, std::string_view payload) const;
  bool may_consume(std::string_view stream, std::string_view payload, MayReceive may_receive) const;
  bool may_use(std::string_view pattern) const noexcept;

  NatsConfig config_;
  SubjectRules publish_;
  SubjectRules subscribe_;
  std::vector<std::pair<std::string, std::string>> queues_;   // Name and text.
  std::vector<std::pair<std::string, std::string>> headers_;  // Name or `prefix*`, and text.
  StreamRules consume_;
  StreamRules manage_;
  std::string any_queue_;
  std::string queue_denial_;
  std::string header_denial_;
  std::string jetstream_denial_;
  std::string way_in_;
};

}  // namespace meridian
