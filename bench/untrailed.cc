// A node that records nothing, to measure what the trail costs. It is no mode of the program: the
// linker puts these in the place of the trail's own functions, in this executable alone.

#include "gate/trail/key_read_tally.h"
#include "gate/trail/trail_writer.h"

#include <string_view>

namespace meridian::trail {

// As Itanium's ABI has it, a member function is a function whose first parameter is the object.
// clang-format off: it puts what is before an asm label on one line, of any length.
Result<void> skip_commit(TrailWriter* writer,
                         std::uint8_t* buffer,
                         std::uint8_t* end,
                         RecordKind kind,
                         RecordContext context) asm(
    "__wrap__ZN8meridian5trail11TrailWriter6commitEPhS2_NS0_10RecordKindENS0_13RecordContextE");
Result<void> skip_append(TrailWriter* writer,
                         RecordContext context,
                         const Statement& statement,
                         std::string_view shape) asm(
    "__wrap__ZN8meridian5trail11TrailWriter6appendENS0_13RecordContextERKNS0_9Statement"
    "ESt17basic_string_viewIcSt11char_traitsIcEE");
Result<void> skip_write(TrailWriter* writer,
                        RecordContext context,
                        std::string_view command,
                        std::string_view key) asm(
    "__wrap__ZN8meridian5trail11TrailWriter9add_writeENS0_13RecordContextE"
    "St17basic_string_viewIcSt11char_traitsIcEES6_");
Result<void> skip_outcome(TrailWriter* writer, const StatementOutcome& outcome) asm(
    "__wrap__ZN8meridian5trail11TrailWriter11add_outcomeERKNS0_16StatementOutcomeE");
Result<void>
skip_read(KeyReadTally* tally, std::string_view view, std::string_view key, KeyRead outcome) asm(
    "__wrap__ZN8meridian5trail12KeyReadTally4readESt17basic_string_viewIcSt11char_traitsIcEE"
    "S5_NS0_7KeyReadE");
// clang-format on

Result<void> skip_commit(TrailWriter* /*writer*/,
                         std::uint8_t* /*buffer*/,
                         std::uint8_t* /*end*/,
                         RecordKind /*kind*/,
                         RecordContext /*context*/) {
  return {};
}

Result<void> skip_append(TrailWriter* /*writer*/,
                         RecordContext /*context*/,
                         const Statement& /*statement*/,
                         std::string_view /*shape*/) {
  return {};
}

Result<void> skip_write(TrailWriter* /*writer*/,
                        RecordContext /*context*/,
                        std::string_view /*command*/,
                        std::string_view /*key*/) {
  return {};
}

Result<void> skip_outcome(TrailWriter* /*writer*/, const StatementOutcome& /*outcome*/) {
  return {};
}

Result<void> skip_read(KeyReadTally* /*tally*/,
                       std::string_view /*view*/,
                       std::string_view /*key*/,
                       KeyRead /*outcome*/) {
  return {};
}

}  // namespace meridian::trail
