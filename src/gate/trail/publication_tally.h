#pragma once
// Gathers what one visit publishes, so that a message costs a count and not a record.
//
// As KeyReadTally: the owner calls flush() each interval and before visit_ended; between two
// flushes four rules have a place, and a fifth flushes by itself.

#include "base/ids.h"
#include "base/result.h"
#include "gate/trail/trail_writer.h"

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace meridian::trail {

class PublicationTally {
 public:
  // `writer` outlives it. Counts from now on.
  PublicationTally(TrailWriter& writer, RecordContext context)
      : writer_(writer), context_(context), since_(writer.loop().now()) {}

  // Before the message is forwarded. `request`: what it brought with it; nil: it is the visit's.
  // Errors: exhausted, unavailable: it must be refused.
  Result<void> count(std::string_view rule,
                     std::string_view subject,
                     std::uint64_t bytes,
                     RequestId request);

  // Records what has gathered. Errors: as of count(); what was not recorded stays.
  Result<void> flush();

  bool empty() const noexcept { return rules_count_ == 0; }

 private:
  static constexpr std::size_t rules_max = 4;
  static constexpr std::size_t subjects_max = decltype(Publications::subjects)::count_max;
  static constexpr std::size_t requests_max = Publications::requests_size_max / 33;

  struct Subject {
    std::string text;
    std::uint64_t messages_count = 0;
    bool cut = false;
  };
  struct Rule {
    std::string name;
    std::uint64_t messages_count = 0;
    std::uint64_t bytes = 0;
    std::uint64_t other_messages_count = 0;
    std::array<Subject, subjects_max> subjects;
    std::size_t subjects_count = 0;
    std::vector<RequestId> requests;  // All of them: with one too many the tally is flushed.

    bool has_room_for(RequestId request) const;
    void begin(std::string_view rule_name);
    void count(std::string_view subject, std::uint64_t message_bytes);
  };

  Result<Rule*> find(std::string_view rule, RequestId request);

  TrailWriter& writer_;
  RecordContext context_;
  Time since_;
  std::unique_ptr<std::array<Rule, rules_max>> rules_;
  std::size_t rules_count_ = 0;
};

}  // namespace meridian::trail
