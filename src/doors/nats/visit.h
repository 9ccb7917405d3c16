#pragma once
// One visit through the nats door, with a connection to the server of its own: so subscription
// numbers, queue groups, echo, the order of PONGs and the server's limits are what a client knows.
//
// What the client says is parsed whole and judged; what it may is passed on, with its verified
// identity on every message. What the server says is passed on too, but for messages that a wide
// subscription may not have. A refusal of ours comes where the server's own would have come: behind
// the answers to everything that was asked before it.
//
// Two fibres: the visit's own reads the client, another reads the server. Either may write to both
// sides. Belongs to the visit's loop.

#include "doors/nats/parts.h"
#include "doors/nats/stamp.h"
#include "doors/visit.h"
#include "gate/trail/publication_tally.h"
#include "runtime/event.h"
#include "wire/nats/parser.h"

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>

namespace meridian {

// Why a visit ended, where the trail and the farewell must agree.
inline constexpr std::string_view nats_slow_consumer = "slow consumer";

class NatsVisit final : public VisitControl {
 public:
  NatsVisit(NatsDoorShared& shared, Visit& visit);
  ~NatsVisit();

  // From the first INFO to a connection to the server (login.cc). False: the visit ends.
  Async<bool> log_in();

  // Until either side ends, the visit is cancelled, or the node drains.
  Async<> run();

  // Says goodbye. Must be awaited before it ends.
  Async<> finish();

 private:
  struct Subscription {
    std::string pattern;
    std::string queue;
    std::uint64_t number = 0;  // Of this one, since its sid may be another's later.
    std::uint64_t delivered_count = 0;
    std::uint64_t max = 0;   // Ends after so many; 0: does not.
    bool withholds = false;  // Each message is judged, and not counted by the server alone.
  };
  struct TextHash : std::hash<std::string_view> {
    using is_transparent = void;
  };
  template <class Value>
  using ByText = std::unordered_map<std::string, Value, TextHash, std::equal_to<>>;

  // What the client waits for, in its order.
  struct Owed {
    enum class Kind : std::uint8_t {
      pong,
      ok,
      ours,      // A refusal, or what else is said here.
      barrier,   // A PONG that we asked for ourselves.
      quiet_ok,  // An +OK for what we said ourselves.
      limit,     // A PONG likewise: now the messages from before an UNSUB with a count have come.
      finish,    // Likewise: now those have come that the server sent while we ended one.
    } kind;
    std::size_t count = 1;
    std::string bytes{};             // Of ours; of limit and finish the sid.
    std::uint64_t subscription = 0;  // Of limit.
    std::uint64_t max = 0;
  };

  // How often a reply subject may still be published to, and until when.
  struct Response {
    std::uint32_t left = 0;
    Time until{};
  };

  // Login (login.cc).
  nats::ServerInfo info_for_client(nats::ServerInfo info) const;
  Async<bool> open_stream(Deadline deadline);
  Async<bool> begin_tls(std::string_view already_read, Deadline deadline);
  Async<bool> introduce();
  Async<bool> admit(nats::ConnectOptions& options);
  Async<bool> authenticate_again(std::string text);
  Async<bool> connect(nats::ConnectOptions options);
  Async<Result<void>> settle_connection(Deadline deadline);
  Async<bool> refuse(std::string_view text, std::string reason);

  // From the client (client_side.cc).
  Async<> read_client();
  Async<bool> take_client_bytes(std::string_view bytes);
  bool take_client_operation(const nats::Operation& operation);
  void leave_after_fault(nats::Fault fault);
  Async<bool> hear_out();
  bool on_subscribe(const nats::Operation& operation);
  void on_unsubscribe(const nats::Operation& operation);
  bool on_publish(const nats::Operation& operation);
  Decision decide_publish(const nats::Operation& operation);
  bool may_receive(std::string_view subject);
  bool use_response(std::string_view subject);
  bool within_rate();
  bool refuse_for_rate(const nats::Operation& operation);
  Deadline idle_deadline() const;
  Deadline reading_deadline() const;
  bool flush_due(Time now);
  void say_denied(std::string_view text);
  void say_invalid_subject();
  bool deny(Action action, std::string_view resource, std::string_view rule, std::string text);
  void forward(std::string_view bytes) { shared_.to_server += bytes; }
  void append_stamped(const nats::Operation& operation);
  void forget_decisions() noexcept;
  void owe(Owed::Kind kind);
  void put_barrier();
  void answer(std::string_view bytes);  // In its turn.
  void answer_behind_all(std::string_view bytes);
  bool cannot_record(const Error& error);

  // From the server (server_side.cc).
  Async<> read_server();
  Async<bool> take_server_bytes(std::string_view bytes);
  bool take_server_operation(const nats::Operation& operation);
  void on_message(const nats::Operation& operation);
  void pass(const nats::Operation& operation);
  void pass_raw(std::string_view raw);
  std::string& to_client();
  std::pair<const std::string, Subscription>* find_subscription(std::string_view sid);
  void erase_subscription(std::string_view sid);
  void finish_subscription(std::string_view sid);
  void on_own_pong();
  bool may_be_delivered(std::string_view subject) const;
  void on_answer(Owed::Kind kind);
  void say_owed();
  void remember_response(std::string_view reply);

  struct Sent {
    bool client = true;  // False: that stream has failed.
    bool server = true;
  };
  Sent send_fresh();
  Async<bool> flush_client();
  Async<bool> flush_server();
  Async<> flush_both();
  Async<> leave_in_time();

  void end(Ending ending) override;
  void expiring(Duration left) override;
  void renewed(PrincipalPointer principal) override;
  void drain();
  void end_forbidden_subscriptions();

  NatsDoorShared& shared_;
  Visit& visit_;
  const Time since_;
  PrincipalPointer principal_;
  VisitSlot slot_;
  VisitRegistry::Registration registration_;
  std::optional<NatsStamp> stamp_;
  std::optional<InboxClaims::Holder> inboxes_;

  // What the client asked for.
  bool verbose_ = false;
  bool headers_ = false;
  nats::ConnectOptions asked_;  // Without its secrets.

  std::unique_ptr<Stream> server_;
  nats::ServerInfo info_;  // The server's own.
  std::int64_t told_payload_max_ = 0;
  nats::Parser from_client_;
  nats::Parser from_server_;
  std::string
      rest_of_client_;  // What was read with its CONNECT, and with the server's first words.
  std::string rest_of_server_;
  std::string to_client_;  // Taken from one side, not yet accepted by the other.
  std::string to_server_;
  std::string farewell_;

  // Of what the server said in one piece, what goes to the client as it stands: sent from there.
  std::string_view server_bytes_;
  std::string_view run_;

  ByText<Subscription> subscriptions_;  // By sid.
  std::pair<const std::string, Subscription>* found_last_ = nullptr;
  std::unordered_set<std::string> withholding_;  // Sids of which messages may still be on their way
  bool all_withhold_ = false;  // that are to be judged; all of them when those are too many.
  std::unordered_multiset<std::string> finished_;  // Sids of which the client has all it asked for.
  std::uint64_t subscriptions_count_ = 0;          // Made so far.
  ByText<Response> responses_;
  std::deque<std::string> responses_order_;
  std::string subject_;  // What was decided last, and by which rule.
  std::string_view rule_;
  std::string prefix_;  // All of a message to subject_ but its payload; for payloads of this size.
  std::size_t prefix_payload_size_ = 0;

  // How many messages may still be published, as of when.
  double rate_left_ = 0;
  Time rate_at_{};
  Time rate_recorded_at_{};
  Time active_at_{};  // The client asked for something.

  std::deque<Owed> owed_;
  std::size_t owed_count_ = 0;
  std::size_t owed_size_ = 0;  // Bytes of ours among it.
  bool unheard_ = false;       // Something was passed on of which no answer that is owed will tell.
  Event owed_less_;
  trail::PublicationTally tally_;
  Time tally_since_{};
  bool lame_duck_ = false;
  bool client_lags_ = false;  // It took less than came since the server was last waited for.
  Scope server_side_;
};

}  // namespace meridian
