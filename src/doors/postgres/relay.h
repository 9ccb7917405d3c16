#pragma once
// The relay of one visit: passes messages between a client and the backend that serves it.
//
// Every message is re-framed on its way. Statements are recorded on the trail before they are
// forwarded, and stamped with the request id; what can acknowledge a commit is held until the cache
// has applied it. A backend is taken when the first statement comes, held for the visit, and given
// back when the visit ends at rest; on any doubt it is closed.
//
// Two fibres: the visit's own reads the client, another reads the backend. Each is the only one
// that writes to the other side. Belongs to the visit's loop.

#include "doors/postgres/client_settings.h"
#include "doors/postgres/parts.h"
#include "doors/postgres/prepared_names.h"
#include "doors/visit.h"
#include "pool/conversation.h"

#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace meridian {

// Which settings of a session are no longer as the client asked for at its start.
struct LostSettings {
  bool application_name = false;
  std::uint32_t applied = 0;  // A bit for each of ClientSettings::applied.
};

class Relay final : public VisitControl {
 public:
  Relay(PostgresDoorShared& shared,
        Visit& visit,
        PrincipalPointer principal,
        std::shared_ptr<Pool> pool,
        ClientSettings settings);
  ~Relay();

  // Takes a backend before the first statement, when the login cannot be answered without one.
  // Errors: those of Pool::take(), and invalid with the server's words when it refuses a setting.
  Async<Result<void>> attach_and_settle();

  // What the client is told about the session's settings.
  ReportedSettings reported_settings() const;

  // Makes the key that the client cancels with, and appends it to its welcome.
  void set_seat(CancelKeys& cancels, std::size_t key_size, std::string& welcome);

  // Relays until either side ends, the visit is cancelled, or the node drains.
  Async<> run();

  // Says goodbye and releases the backend. Must be awaited before the relay ends.
  Async<> finish();

 private:
  // From the client to the backend (relay_client.cc).
  enum class Step : std::uint8_t {
    done,    // The message was taken.
    more,    // It is not all there.
    attach,  // A backend is needed first.
    cancel,  // A cancel that is on its way has to arrive first.
    leave,   // The visit ends.
  };
  Async<> read_client();
  Step take_messages(std::string_view& input);
  Async<bool> take_rest(Step step, std::string_view input);
  Step take_message(std::string_view& input);
  Step take_whole(postgres::FrontendType type, std::string_view message);
  Step take_part(const postgres::Frame& frame, std::string_view& input);
  Step on_query(std::string_view sql);
  Step on_parse(std::string_view statement, std::string_view sql);
  Step on_bind(std::string_view portal, std::string_view statement);
  Step on_execute(std::string_view portal);
  Step on_opaque_query(std::size_t size);
  Step checked(Result<void> result);
  Result<StatementStart> begin_statement(StatementShape& shape, std::size_t size, bool extended);
  StatementClassifier::Classified classify(std::string_view sql);
  // A simple query destroys the statement and the portal without a name; with `keep_unnamed` they
  // stay.
  void stamp(StatementShape& shape, RequestId given, bool keep_unnamed = false);
  bool holds_unnamed_portal() const noexcept;
  bool too_far_ahead() const noexcept;
  bool awaits_cancel() const noexcept;
  void forward(std::string_view bytes) { shared_.write_buffer += bytes; }
  bool sent_to_backend();
  Async<bool> send_to_backend();

  // From the backend to the client (relay_server.cc).
  struct Passed {
    std::string text;                      // For the client; empty when it is all of the input.
    std::size_t taken = 0;                 // Of the input.
    std::optional<std::size_t> hold_from;  // What follows in `text` may acknowledge a commit.
    bool copied = false;                   // `text` counts.
  };
  Async<> read_backend();
  bool passed_at_once(std::string_view input, Passed& passed);
  Async<bool> deliver(Passed passed);
  Result<Passed> pass(std::string_view input);
  Result<void> note_answer(postgres::BackendType type,
                           std::string_view body,
                           const Conversation::Verdict& verdict);
  Async<bool> send_to_client(std::string_view bytes);
  Async<bool> wait_for_cache();
  void backend_lost(std::string why);
  void violation(const Error& error);
  Deadline statement_deadline() const;
  Async<> guard_statements();
  Deadline idle_deadline() const;
  Result<void> check_statement(StatementShape& shape);

  // Coming and going (relay.cc).
  Async<Result<void>> attach();
  void end(Ending ending) override;
  void expiring(Duration left) override;
  void renewed(PrincipalPointer principal) override;
  void leave_when_at_rest();
  bool idle_at_rest() const noexcept;
  void say(const Error& error);
  void say(std::string_view sqlstate, std::string_view message);
  Async<> say_farewell();
  Async<> hear_out();
  Async<> discard(std::uint64_t bytes, Deadline deadline);
  Async<> release_backend();
  std::string setup_statement();
  std::string settings_statement(const LostSettings& lost);
  void note_resets(const StatementShape& shape);
  std::string identity_proof() const;
  void cancel_requested(CancelKeys::Done done);
  Async<> cancel_backend(CancelKeys::Done done = {});

  PostgresDoorShared& shared_;
  Visit& visit_;
  PrincipalPointer principal_;
  std::shared_ptr<Pool> pool_;
  ClientSettings settings_;
  VisitRegistry::Registration registration_;
  std::shared_ptr<CancelKeys::Seat> seat_;

  std::unique_ptr<Backend> backend_;
  Conversation conversation_;
  std::optional<postgres::Framer> client_framer_;
  std::optional<postgres::Framer> server_framer_;
  PreparedNames names_;

  std::string from_client_;  // The beginning of a message that has to be looked at whole.
  std::string from_backend_;
  std::string to_backend_;  // Taken from one side, not yet accepted by the other.
  std::string to_client_;
  std::string farewell_;  // The last message to the client, if there is one.
  std::string notice_;    // To be put between two messages.

  // More than a server keeps back, and so far below the bound that what is read at once fits in.
  static constexpr std::size_t expected_count_max = Conversation::expected_max / 8;

  std::size_t requests_owed_ = 0;  // Of the client, each ended by a ReadyForQuery.
  Time active_at_;  // When the client last asked for something or got the last of an answer.
  bool listens_ = false;

  RequestId request_;  // As the database knows it: what was stamped last.
  std::uint32_t ordinal_ = 0;
  std::uint64_t unheard_bytes_ = 0;  // The rest of a message that is refused.
  bool stamped_ = false;             // In this transaction.
  bool in_timeline_ = false;         // The database is the timeline's, and views depend on it.
  bool unflushed_ = false;           // The session may commit without waiting for the disk.
  bool leave_at_rest_ = false;
  bool passing_on_ = false;  // An answer is on its way to the client, or held for the cache.
  Duration cancel_pause_{};  // Before the next cancel of the statement that is running; zero:
                             // none was sent.
  Time cancel_again_at_{};
  bool server_ended_ = false;     // It has told the client why.
  bool lost_ = false;             // The backend is gone, or not to be believed any more.
  bool tainted_ = false;          // A cancel may still come to the backend.
  std::optional<Error> refused_;  // The server did not take what was injected.
  std::optional<LostSettings> lost_settings_;  // To be put back; the identity always is.
  std::uint32_t cancelling_ = 0;
  Event cancelled_;        // A cancel has come to its end.
  bool guarding_ = false;  // guard_statements() looks again, no later than any deadline of now.
  Event running_;          // It does not, and a statement runs; or the timeout is another.
  Event answered_;         // A request has come to its end.
  Event set_up_;           // The settings were taken, or not.
  Scope server_side_;      // read_backend() and cancels.
};

}  // namespace meridian
