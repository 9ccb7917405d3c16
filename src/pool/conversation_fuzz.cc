// Whatever a client sends and a server answers, in any order: the conversation keeps its bounds, is
// at rest only when nothing is expected, never hands the client an answer of ours, and is the same
// for the same bytes.

#include "base/assert.h"
#include "pool/conversation.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace meridian {
namespace {

constexpr std::string_view backend_types = "RKSZCTDIEN1235tnAsGHWcdVv";

struct Reader {
  const std::uint8_t* at;
  const std::uint8_t* end;

  std::uint8_t next() { return at == end ? std::uint8_t{0} : *at++; }
  std::string text() {
    const std::size_t wanted = next() & 15U;
    const auto left = static_cast<std::size_t>(end - at);
    const std::size_t size = std::min(wanted, left);
    std::string taken(reinterpret_cast<const char*>(at), size);
    at += size;
    return taken;
  }
};

// A body that is often right for its type, so that the machine gets further than its first step.
std::string body_of(char type, Reader& reader) {
  const std::uint8_t choice = reader.next();
  if (choice >= 0xe0) return reader.text();
  if (type == 'Z') return std::string(1, "ITE"[choice % 3]);
  if (type == 'E') return std::string("SERROR\0C40001\0Mno\0\0", 19);
  if (type != 'C') return {};
  constexpr std::string_view tags[] = {
      "BEGIN", "COMMIT", "ROLLBACK", "INSERT 0 1", "SELECT 5", "CALL", "DO", "COMMIT PREPARED"};
  return std::string(tags[choice % 8]) + '\0';
}

// False when it would ask what the relay does not.
Result<void> send(Conversation& talk, std::uint8_t what, std::uint32_t ordinal) {
  const StatementStart start{.ordinal = ordinal, .started_at = {}, .may_write = (what & 16U) != 0};
  switch (what % 13) {
    case 0:
      return talk.query(start);
    case 1:
      return talk.function_call(start);
    case 2:
      return talk.parse();
    case 3:
      return talk.bind();
    case 4:
      return talk.describe(postgres::Target::statement);
    case 5:
      return talk.describe(postgres::Target::portal);
    case 6:
      return talk.execute(start);
    case 7:
      return talk.close();
    case 8:
      return talk.sync();
    case 9:
      return talk.flush();
    case 10:
      return talk.copy_data();
    case 11:
      return talk.copy_end();
    default:
      if (!talk.at_rest()) return {};
      if ((what & 32U) != 0) {
        talk.injected_batch((what & 64U) != 0);
      } else {
        talk.injected_query();
      }
      return {};
  }
}

void run(Reader reader) {
  Conversation talk;
  std::uint32_t ordinal = 0;
  while (reader.at != reader.end) {
    const std::uint8_t what = reader.next();
    if (what < 128) {
      const auto sent = send(talk, what, ++ordinal);
      MERIDIAN_ASSERT(sent || sent.error().code() == Errc::exhausted);
    } else {
      const char type = backend_types[what % backend_types.size()];
      const std::string body = body_of(type, reader);
      const bool ours = talk.answering_injected();
      const bool at_rest = talk.at_rest();
      const std::size_t expected = talk.expected_count();
      const auto verdict = talk.answer(static_cast<postgres::BackendType>(type), body);
      if (!verdict) return;  // The backend is closed.
      MERIDIAN_ASSERT(!(ours && verdict->ready));
      MERIDIAN_ASSERT(!(ours && verdict->forward) || type == 'A' || type == 'S');
      MERIDIAN_ASSERT(talk.expected_count() <= expected);
      // At rest it is told news alone, and an error that ends the connection.
      MERIDIAN_ASSERT(!at_rest || type == 'N' || type == 'S' || type == 'A' || type == 'E' ||
                      type == 'Z');
      if (verdict->may_acknowledge && (what & 1U) != 0) {
        talk.acknowledged();
        MERIDIAN_ASSERT(expected > 0 || type == 'Z');
      }
      if (verdict->ended) MERIDIAN_ASSERT(verdict->ended->ordinal <= ordinal);
    }
    MERIDIAN_ASSERT(talk.expected_count() <= Conversation::expected_max + 1);
    MERIDIAN_ASSERT(!talk.at_rest() || talk.expected_count() == 0);
    MERIDIAN_ASSERT(!talk.at_rest() || !talk.running_since());
  }
}

}  // namespace
}  // namespace meridian

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > 4'096) return 0;
  meridian::run({data, data + size});
  return 0;
}
