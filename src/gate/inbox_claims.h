#pragma once
// Whose inbox is whose: the replies that a client waits for come to `_INBOX.<id>`, with an id that
// it made up, and nobody else may listen there, also who has learnt the id from a request.
//
// Of this node. Any thread.

#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

namespace meridian {

class InboxClaims {
 public:
  // The inbox that a subject or pattern belongs to: `_INBOX.<id>` without what follows. Empty when
  // it is none, or its id is a wildcard or short enough to be guessed.
  static std::string_view inbox_of(std::string_view subject) noexcept;

  // The inboxes of one visit, given up when it ends. Belongs to the visit.
  class Holder {
   public:
    // `owner` is the principal: visits of the same one may share an inbox, since a client that
    // connects again keeps its own. `claims` outlives the holder.
    Holder(InboxClaims& claims, std::string owner) : claims_(claims), owner_(std::move(owner)) {}
    Holder(const Holder&) = delete;
    Holder& operator=(const Holder&) = delete;
    ~Holder();

    // Whether the subject lies in an inbox of this visit; it becomes one if it is nobody's.
    bool owns(std::string_view subject);

    // The same without taking one that is nobody's: for what others send.
    bool holds(std::string_view subject) const;

   private:
    static constexpr std::size_t inboxes_max = 1'024;  // The oldest is given up then.

    InboxClaims& claims_;
    std::string owner_;
    std::deque<std::string> inboxes_;
  };

 private:
  struct Claim {
    std::string owner;
    std::uint32_t holders_count = 0;
  };

  bool take(std::string_view inbox, const std::string& owner);
  void give_up(const std::string& inbox) noexcept;

  std::mutex mutex_;
  std::unordered_map<std::string, Claim> claims_;
};

}  // namespace meridian
