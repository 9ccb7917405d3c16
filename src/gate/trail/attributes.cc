#include "gate/trail/attributes.h"

#include "base/hex.h"
#include "gate/trail/codec.h"

#include <fmt/format.h>

namespace meridian::trail {
namespace {

class Collector {
 public:
  explicit Collector(Attributes& out) : out_(out) {}

  template <class T>
  void operator()(unsigned /*number*/, std::string_view name, const T& value) {
    put(name, value);
  }

 private:
  void add(std::string_view name, decltype(Attribute::value) value) {
    out_.push_back({.name = std::string(name), .value = std::move(value)});
  }
  void add_cut(std::string_view name, bool cut) {
    if (cut) add(std::string(name) + "_cut", true);
  }

  void put(std::string_view name, std::uint64_t value) { add(name, value); }
  void put(std::string_view name, std::uint32_t value) { add(name, std::uint64_t{value}); }
  void put(std::string_view name, std::uint16_t value) { add(name, std::uint64_t{value}); }
  void put(std::string_view name, bool value) { add(name, value); }
  void put(std::string_view name, VisitId value) { add(name, value.value()); }
  void put(std::string_view name, PreviousEnd value) { add(name, std::string(to_string(value))); }
  void put(std::string_view name, Duration value) {
    add(std::string(name) + "_us", static_cast<std::uint64_t>(value.count() / 1'000));
  }
  void put(std::string_view name, WallTime value) { add(name, to_rfc3339(value)); }
  void put(std::string_view name, Fingerprint value) {
    add(name, fmt::format("{:016x}", value.value()));
  }
  void put(std::string_view name, Lsn value) {
    add(name, fmt::format("{:X}/{:X}", value.value() >> 32, value.value() & 0xffffffff));
  }
  void put(std::string_view name, const Sqlstate& value) { add(name, std::string(value.text())); }
  template <std::size_t Size>
  void put(std::string_view name, const std::array<std::uint8_t, Size>& value) {
    add(name, to_hex(value));
  }
  template <std::size_t SizeMax>
  void put(std::string_view name, const BoundedText<SizeMax>& value) {
    if (!value.empty()) add(name, std::string(value.bytes));
    add_cut(name, value.cut);
  }
  template <class T, std::size_t CountMax>
  void put(std::string_view name, const BoundedList<T, CountMax>& list) {
    std::vector<Attributes> items;
    for (const T& item : list) {
      item.fields(Collector(items.emplace_back()));
    }
    add(name, std::move(items));
    add_cut(name, list.cut());
  }

  Attributes& out_;
};

}  // namespace

std::optional<Attributes> to_attributes(const RecordView& record) {
  std::optional<Attributes> attributes;
  with_record_of(record.header.kind, [&](auto empty) {
    const auto fields = decode<decltype(empty)>(record.fields());
    if (!fields) return;
    attributes.emplace();
    fields->fields(Collector(*attributes));
  });
  return attributes;
}

}  // namespace meridian::trail
