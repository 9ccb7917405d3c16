#pragma once
// The live visits of one loop and who they belong to: ends them when their token expires, when they
// are revoked, or when an operator says so.
//
// One for each loop.

#include "base/ids.h"
#include "base/list.h"
#include "gate/config.h"
#include "gate/permissions.h"
#include "gate/principal.h"
#include "gate/revocations.h"
#include "runtime/event.h"
#include "runtime/published.h"
#include "runtime/scope.h"

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

namespace meridian {

enum class EndReason : std::uint8_t { expired, revoked, operator_request };
std::string_view to_string(EndReason reason) noexcept;

// Why and how a visit is to end.
struct Ending {
  EndReason reason;
  bool after_transaction = false;  // May finish what is open; the registry will insist later.
  std::string text;                // For the client's error and the trail.
};

// What the registry says to a visit. Called on the visit's loop, never from inside a call of the
// visit to the registry; must not end the registration before it returns.
class VisitControl {
 public:
  // End now, or after the open transaction. May come again, more urgently.
  virtual void end(Ending ending) = 0;

  // The token expires after this time: warn the client where the protocol can.
  virtual void expiring(Duration left) = 0;

 protected:
  ~VisitControl() = default;
};

class VisitRegistry {
 public:
  // `revocations` outlives it.
  VisitRegistry(Loop& loop, const Published<RevocationSet>& revocations, VisitLimits limits);
  ~VisitRegistry();

  // Begins to watch the clock. Revocations::watch() is to call check_revocations().
  void start();
  Async<> close();

  // A visit's place here; it leaves when this ends.
  class Registration;

  // `control` outlives the registration. What happened since the visit was admitted (a revocation,
  // its expiry) ends it when the loop comes to it.
  Registration add(VisitId id, DoorName door, PrincipalPointer principal, VisitControl& control);

  // Ends what is revoked now.
  void check_revocations();

  // False when there is no such visit on this loop.
  bool end(VisitId id, Ending ending);

  std::size_t count() const noexcept { return visits_.size(); }

  struct Visit {
    VisitId id;
    DoorName door;
    PrincipalPointer principal;
  };
  std::vector<Visit> visits() const;

 private:
  // What a visit's clock says next.
  enum class Step : std::uint8_t { check, notice, expire, insist };
  struct Entry;
  using Clock = std::multimap<WallTime, Entry*>;
  struct Entry {
    Visit visit;
    VisitControl& control;
    Step step = Step::check;
    Clock::iterator due;
    bool ended = false;  // It was told to end at once; nothing more is to be said.
  };

  void remove(VisitId id) noexcept;
  void schedule(Entry& entry, WallTime at);
  void tell(Entry& entry, Ending ending);
  bool check_revocation(Entry& entry, WallTime now);
  void run_due();
  void run_step(Entry& entry);
  ExpiryPolicy expiry_of(const Principal& principal) const noexcept;
  Async<> watch_clock();

  Loop& loop_;
  Published<RevocationSet>::Reader revocations_;
  VisitLimits limits_;
  std::unordered_map<VisitId, Entry> visits_;
  Clock clock_;
  Event sooner_;  // Notified when the first of clock_ changes.
  Scope scope_;
};

class VisitRegistry::Registration {
 public:
  Registration() = default;
  Registration(Registration&& other) noexcept
      : registry_(std::exchange(other.registry_, nullptr)), id_(other.id_) {}
  Registration& operator=(Registration&& other) noexcept {
    if (this != &other) {
      leave();
      registry_ = std::exchange(other.registry_, nullptr);
      id_ = other.id_;
    }
    return *this;
  }
  ~Registration() { leave(); }

 private:
  friend class VisitRegistry;
  Registration(VisitRegistry& registry, VisitId id) noexcept : registry_(&registry), id_(id) {}

  void leave() noexcept {
    if (registry_) registry_->remove(id_);
    registry_ = nullptr;
  }

  VisitRegistry* registry_ = nullptr;
  VisitId id_;
};

}  // namespace meridian
