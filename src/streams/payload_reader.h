#pragma once
// Finds a rule's fields in payloads, whatever their format is.

#include "base/result.h"
#include "wire/json/fields.h"
#include "wire/protobuf/fields.h"

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace meridian {

class PayloadReader {
 public:
  // Without a schema payloads are JSON. Errors: invalid, where a path leads to nothing.
  static Result<PayloadReader> make(const std::shared_ptr<const protobuf::Schema>& schema,
                                    const std::vector<std::string>& paths) {
    if (!schema) {
      MERIDIAN_TRY(json::FieldReader reader, json::FieldReader::make(paths));
      return PayloadReader(std::move(reader));
    }
    MERIDIAN_TRY(protobuf::FieldReader reader, protobuf::FieldReader::make(schema, paths));
    return PayloadReader(std::move(reader));
  }

  // One field a path, good while the payload and the reader live and until the next read().
  Result<const std::vector<json::Field>*> read(std::string_view payload) {
    return std::visit([&](auto& reader) { return reader.read(payload); }, reader_);
  }

  std::size_t count() const noexcept {
    return std::visit([](const auto& reader) { return reader.count(); }, reader_);
  }

 private:
  using Any = std::variant<json::FieldReader, protobuf::FieldReader>;
  explicit PayloadReader(Any reader) : reader_(std::move(reader)) {}

  Any reader_;
};

}  // namespace meridian
