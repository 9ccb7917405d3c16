#pragma once
// Some fields of messages in Protobuf's wire format, by a descriptor: what wire/json/fields.h is
// for JSON, with the same paths, and values in the form in which a database reads them.
//
// A field that has presence and is not set is missing; one without presence has its default. What
// the descriptor does not know is passed over. Over Google's library, which knows the format's
// rules (merging, packing, groups, maps, UTF-8).

#include "base/result.h"
#include "wire/json/fields.h"

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace meridian::protobuf {

// A message type with all that it refers to. It never changes, and threads may share it.
class Schema {
 public:
  static constexpr std::size_t size_max = 8uz * 1024 * 1024;  // Of a descriptor set.

  // Of a FileDescriptorSet, as `protoc --include_imports --descriptor_set_out` writes it, and the
  // full name of a message. Errors: invalid, exhausted.
  static Result<std::shared_ptr<const Schema>> make(std::string_view descriptor_set,
                                                    std::string_view message);
  ~Schema();

  // Made of the same bytes and name.
  friend bool operator==(const Schema& a, const Schema& b) noexcept {
    return a.descriptor_set_ == b.descriptor_set_ && a.message_ == b.message_;
  }

 private:
  friend class FieldReader;
  struct Types;
  Schema(std::unique_ptr<Types> types, std::string_view descriptor_set, std::string_view message);

  std::unique_ptr<Types> types_;
  std::string descriptor_set_;
  std::string message_;
};

class FieldReader {
 public:
  static constexpr int depth_max = 32;
  static constexpr std::size_t size_max = 16uz * 1024 * 1024;  // Of one message.

  // Paths such as "total", "address.city", "lines[0].sku", "labels.colour" of a map, and
  // "status.number" of an enum or of a list of them. Errors: invalid, where a path leads to nothing
  // that the schema has.
  static Result<FieldReader> make(std::shared_ptr<const Schema> schema,
                                  const std::vector<std::string>& paths);
  FieldReader(FieldReader&& other) noexcept;
  FieldReader& operator=(FieldReader&& other) noexcept;
  ~FieldReader();

  // The fields, one a path, good while `bytes` and the reader live and until the next read().
  // Messages, lists and maps come as JSON of the .proto's own names; a google.protobuf.Timestamp
  // as text. Errors: invalid, exhausted. They quote nothing of the message.
  Result<const std::vector<json::Field>*> read(std::string_view bytes);

  std::size_t count() const noexcept;

 private:
  struct Parts;
  explicit FieldReader(std::unique_ptr<Parts> parts);

  std::unique_ptr<Parts> parts_;
};

}  // namespace meridian::protobuf
