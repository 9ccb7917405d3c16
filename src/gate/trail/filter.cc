#include "gate/trail/filter.h"

#include "gate/trail/codec.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <type_traits>

namespace meridian::trail {
namespace {

// Looks through the texts of a record, those in lists too, for one of these names and this value.
class TextSearch {
 public:
  TextSearch(std::span<const std::string_view> names, std::string_view value)
      : names_(names), value_(value) {}

  template <class T>
  void operator()(unsigned /*number*/, std::string_view name, const T& member) {
    look(name, member);
  }

  bool found() const noexcept { return found_; }
  bool named() const noexcept { return named_; }  // The record has such a text, whatever its value.

 private:
  template <std::size_t SizeMax>
  void look(std::string_view name, const BoundedText<SizeMax>& text) {
    if (std::ranges::find(names_, name) == names_.end() || text.empty()) return;
    named_ = true;
    found_ = found_ || text.bytes == value_.substr(0, SizeMax);
  }
  template <class T, std::size_t CountMax>
  void look(std::string_view /*name*/, const BoundedList<T, CountMax>& list) {
    for (const T& item : list) {
      item.fields(*this);
    }
  }
  template <class T>
  void look(std::string_view /*name*/, const T& /*other*/) {}

  std::span<const std::string_view> names_;
  std::string_view value_;
  bool found_ = false;
  bool named_ = false;
};

TextSearch search(const RecordView& record,
                  std::span<const std::string_view> names,
                  std::string_view value) {
  TextSearch search(names, value);
  with_record_of(record.header.kind, [&](auto empty) {
    if (const auto fields = decode<decltype(empty)>(record.fields())) fields->fields(search);
  });
  return search;
}

// The record's own word, or that of its visit.
bool says(const RecordView& record,
          std::string_view name,
          std::string_view wanted,
          const VisitFacts* facts,
          std::string VisitFacts::* fact) {
  if (wanted.empty()) return true;
  const std::array names{name};
  const TextSearch own = search(record, names, wanted);
  if (own.named()) return own.found();
  return facts && facts->*fact == wanted;
}

bool has_outcome_of(const RecordView& record, VisitId visit) {
  if (record.header.kind != RecordKind::statement_outcomes) return false;
  const auto fields = decode<StatementOutcomes>(record.fields());
  return fields && std::ranges::find(fields->outcomes, visit, &StatementOutcome::visit) !=
                       fields->outcomes.end();
}

}  // namespace

bool Filter::passes(const RecordView& record, const VisitFacts* facts) const {
  const RecordHeader& header = record.header;
  if (since && header.time < *since) return false;
  if (until && header.time >= *until) return false;
  if (request && header.request != *request) return false;
  if (!kinds.empty() && std::ranges::find(kinds, header.kind) == kinds.end()) return false;
  if (visit && header.visit != *visit && !has_outcome_of(record, *visit)) return false;
  if (!says(record, "subject", subject, facts, &VisitFacts::subject)) return false;
  if (!says(record, "role", role, facts, &VisitFacts::role)) return false;
  if (!says(record, "door", door, facts, &VisitFacts::door)) return false;
  if (key.empty()) return true;
  constexpr std::array<std::string_view, 3> names{"key", "view", "resource"};
  return search(record, names, key).found();
}

std::optional<RecordKind> parse_record_kind(std::string_view name) noexcept {
  for (unsigned value = 1; value <= record_kind_last; ++value) {
    const auto kind = static_cast<RecordKind>(value);
    if (to_string(kind) == name) return kind;
  }
  return std::nullopt;
}

}  // namespace meridian::trail
