#include "streams/acknowledgements.h"

#include <iterator>
#include <utility>

namespace meridian {

void Acknowledgements::owe(std::uint64_t sequence, std::string_view reply) {
  owed_.insert_or_assign(sequence,
                         Owed{.reply = std::string(reply), .dead_reason = {}, .other = false});
}

void Acknowledgements::owe_dead(std::uint64_t sequence,
                                std::string_view reply,
                                std::string_view reason) {
  owed_.insert_or_assign(
      sequence,
      Owed{.reply = std::string(reply), .dead_reason = std::string(reason), .other = false});
}

void Acknowledgements::owe_other(std::uint64_t sequence, std::string_view reply) {
  if (!owed_.empty() && owed_.rbegin()->first < sequence && owed_.rbegin()->second.other) {
    owed_.erase(std::prev(owed_.end()));
  }
  // A message of the rule's that has the same sequence says more.
  owed_.try_emplace(sequence, Owed{.reply = std::string(reply), .dead_reason = {}, .other = true});
}

std::vector<Acknowledgements::Word> Acknowledgements::take(const Progress& progress) {
  std::vector<Word> words;
  while (!owed_.empty() && progress.all_done_to(owed_.begin()->first)) {
    auto node = owed_.extract(owed_.begin());
    Owed& owed = node.mapped();
    const bool last = owed_.empty() || !progress.all_done_to(owed_.begin()->first);
    if (!owed.dead_reason.empty()) {
      words.push_back({.reply = std::move(owed.reply), .text = "+TERM " + owed.dead_reason});
    } else if (last) {
      words.push_back({.reply = std::move(owed.reply), .text = "+ACK"});
    }
  }
  return words;
}

}  // namespace meridian
