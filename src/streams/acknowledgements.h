#pragma once
// What a rule still has to tell the stream about messages that are done. An acknowledgement covers
// all messages before it, so it waits until those are done too; of messages in a row the last one's
// says it for all.
//
// Bounded by what Progress remembers.

#include "streams/progress.h"

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace meridian {

class Acknowledgements {
 public:
  struct Word {
    std::string reply;
    std::string text;
  };

  // The last message of those that were done together.
  void owe(std::uint64_t sequence, std::string_view reply);
  // A dead one is told of by itself.
  void owe_dead(std::uint64_t sequence, std::string_view reply, std::string_view reason);

  // One that is no message of the rule's, and needs nothing to be done. Of those in a row one is
  // kept.
  void owe_other(std::uint64_t sequence, std::string_view reply);

  // What may be said now, in its order.
  std::vector<Word> take(const Progress& progress);

  std::size_t owed_count() const noexcept { return owed_.size(); }

 private:
  struct Owed {
    std::string reply;
    std::string dead_reason;  // Empty: it is not dead.
    bool other = false;
  };
  std::map<std::uint64_t, Owed> owed_;  // By sequence.
};

}  // namespace meridian
