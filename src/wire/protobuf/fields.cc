#include "wire/protobuf/fields.h"

#include "base/escape.h"
#include "base/hex.h"
#include "base/number.h"
#include "base/time.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/dynamic_message.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/message.h>
#include <google/protobuf/stubs/logging.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <fmt/format.h>
#include <iterator>
#include <limits>
#include <utility>

namespace meridian::protobuf {
namespace {

namespace pb = google::protobuf;
using json::Field;
using json::FieldKind;
using CppType = pb::FieldDescriptor::CppType;

// After a message that was much larger than others, its memory is given back.
constexpr std::size_t kept_memory_max = 1024uz * 1024;
constexpr std::string_view timestamp_name = "google.protobuf.Timestamp";

// What the library says of a descriptor goes to whoever asked.
class Complaints final : public pb::DescriptorPool::ErrorCollector {
 public:
  void AddError(const std::string& file,
                const std::string& element,
                const pb::Message* /*descriptor*/,
                ErrorLocation /*location*/,
                const std::string& text) override {
    if (first.empty()) first = fmt::format("{}: {}: {}", file, element, text);
  }
  void AddWarning(const std::string& /*file*/,
                  const std::string& /*element*/,
                  const pb::Message* /*descriptor*/,
                  ErrorLocation /*location*/,
                  const std::string& /*text*/) override {}

  std::string first;
};

std::string_view view(const std::string& text) {
  return text;
}

// Messages in wire format alone; nothing of them may be left over.
bool parse(pb::Message& message, std::string_view bytes, int depth_max) {
  pb::io::CodedInputStream input(reinterpret_cast<const std::uint8_t*>(bytes.data()),
                                 static_cast<int>(bytes.size()));
  input.SetRecursionLimit(depth_max);
  return message.ParsePartialFromCodedStream(&input) && input.ConsumedEntireMessage();
}

template <class Number>
std::string to_number(Number value) {
  std::array<char, 32> digits;
  const auto [end, error] = std::to_chars(digits.data(), digits.data() + digits.size(), value);
  (void)error;  // There is room for every number.
  return {digits.data(), end};
}

// As PostgreSQL and JSON write them, where they can.
template <class Real>
std::string to_real(Real value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  return to_number(value);
}

std::string to_hex_text(std::string_view bytes) {
  return "\\x" + to_hex({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()});
}

// One value that is no message: of a field, of an element, of a map's key or value.
struct Scalar {
  FieldKind kind = FieldKind::missing;
  std::string text{};
  std::string alternative{};
};

Scalar scalar_of(const pb::Message& message, const pb::FieldDescriptor& field, int index) {
  const pb::Reflection& of = *message.GetReflection();
  const auto get = [&](auto single, auto repeated) {
    return index < 0 ? (of.*single)(message, &field) : (of.*repeated)(message, &field, index);
  };
  using R = pb::Reflection;
  switch (field.cpp_type()) {
    case CppType::CPPTYPE_INT32:
      return {FieldKind::number, to_number(get(&R::GetInt32, &R::GetRepeatedInt32))};
    case CppType::CPPTYPE_INT64:
      return {FieldKind::number, to_number(get(&R::GetInt64, &R::GetRepeatedInt64))};
    case CppType::CPPTYPE_UINT32:
      return {FieldKind::number, to_number(get(&R::GetUInt32, &R::GetRepeatedUInt32))};
    case CppType::CPPTYPE_UINT64:
      return {FieldKind::number, to_number(get(&R::GetUInt64, &R::GetRepeatedUInt64))};
    case CppType::CPPTYPE_DOUBLE:
      return {FieldKind::number, to_real(get(&R::GetDouble, &R::GetRepeatedDouble))};
    case CppType::CPPTYPE_FLOAT:
      return {FieldKind::number, to_real(get(&R::GetFloat, &R::GetRepeatedFloat))};
    case CppType::CPPTYPE_BOOL:
      return {FieldKind::boolean, get(&R::GetBool, &R::GetRepeatedBool) ? "true" : "false"};
    case CppType::CPPTYPE_ENUM: {
      const int number = get(&R::GetEnumValue, &R::GetRepeatedEnumValue);
      const pb::EnumValueDescriptor* const known = field.enum_type()->FindValueByNumber(number);
      const std::string digits = to_number(number);
      return {FieldKind::enumeration, known ? std::string(known->name()) : digits, digits};
    }
    case CppType::CPPTYPE_STRING: {
      std::string text = get(&R::GetString, &R::GetRepeatedString);
      if (field.type() != pb::FieldDescriptor::TYPE_BYTES) {
        return {FieldKind::string, std::move(text)};
      }
      std::string hex = to_hex_text(text);
      return {FieldKind::bytes, std::move(text), std::move(hex)};
    }
    case CppType::CPPTYPE_MESSAGE:
      break;
  }
  return {};
}

// Of google.protobuf.Timestamp, in RFC 3339. Empty: outside of its range, years 1 to 9999.
std::optional<std::string> timestamp_text(const pb::Message& message) {
  const pb::Descriptor& type = *message.GetDescriptor();
  const pb::FieldDescriptor* const seconds_field = type.FindFieldByNumber(1);
  const pb::FieldDescriptor* const nanos_field = type.FindFieldByNumber(2);
  const bool known = seconds_field && nanos_field && !seconds_field->is_repeated() &&
                     !nanos_field->is_repeated() &&
                     seconds_field->cpp_type() == CppType::CPPTYPE_INT64 &&
                     nanos_field->cpp_type() == CppType::CPPTYPE_INT32;
  if (!known) return std::nullopt;
  const std::int64_t seconds = message.GetReflection()->GetInt64(message, seconds_field);
  const std::int32_t nanos = message.GetReflection()->GetInt32(message, nanos_field);
  constexpr std::int64_t seconds_min = -62'135'596'800;  // 0001-01-01, of the type's definition.
  constexpr std::int64_t seconds_max = 253'402'300'799;
  constexpr std::int32_t nanos_max = 999'999'999;
  if (seconds < seconds_min || seconds > seconds_max || nanos < 0 || nanos > nanos_max) {
    return std::nullopt;
  }
  const std::chrono::sys_seconds at{std::chrono::seconds(seconds)};
  const auto day = std::chrono::floor<std::chrono::days>(at);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss time(at - day);
  std::string text = fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
                                 static_cast<int>(date.year()),
                                 static_cast<unsigned>(date.month()),
                                 static_cast<unsigned>(date.day()),
                                 time.hours().count(),
                                 time.minutes().count(),
                                 time.seconds().count());
  if (nanos != 0) text += fmt::format(".{:09}", nanos);
  return text + "Z";
}

// Where reading ended, and why.
struct Trouble {
  std::string what{};
};

void append_json(std::string& out, const Scalar& scalar, Trouble& trouble) {
  switch (scalar.kind) {
    case FieldKind::boolean:
      out += scalar.text;
      return;
    case FieldKind::number:
      // What is no number of JSON is a text there.
      if (scalar.text.find_first_not_of("+-.0123456789e") == std::string::npos) {
        out += scalar.text;
      } else {
        append_json_string(out, scalar.text);
      }
      return;
    case FieldKind::enumeration:
      if (scalar.text == scalar.alternative) {
        out += scalar.text;
      } else {
        append_json_string(out, scalar.text);
      }
      return;
    case FieldKind::bytes:
      append_json_string(out, scalar.alternative);
      return;
    case FieldKind::string:
      if (!is_utf8(scalar.text)) trouble.what = "a text in it is no UTF-8";
      append_json_string(out, scalar.text);
      return;
    case FieldKind::missing:
    case FieldKind::null:
    case FieldKind::object:
    case FieldKind::array:
      out += "null";
      return;
  }
}

void append_json(std::string& out, const pb::Message& message, Trouble& trouble);

void append_json(std::string& out,
                 const pb::Message& message,
                 const pb::FieldDescriptor& field,
                 int index,
                 Trouble& trouble) {
  if (field.cpp_type() != CppType::CPPTYPE_MESSAGE) {
    return append_json(out, scalar_of(message, field, index), trouble);
  }
  const pb::Reflection& of = *message.GetReflection();
  append_json(
      out,
      index < 0 ? of.GetMessage(message, &field) : of.GetRepeatedMessage(message, &field, index),
      trouble);
}

// A whole field: one value, a list, or a map.
void append_json_field(std::string& out,
                       const pb::Message& message,
                       const pb::FieldDescriptor& field,
                       Trouble& trouble) {
  if (!field.is_repeated()) return append_json(out, message, field, -1, trouble);
  const pb::Reflection& of = *message.GetReflection();
  const int count = of.FieldSize(message, &field);
  const bool map = field.is_map();
  out += map ? '{' : '[';
  std::vector<std::string> keys;
  for (int i = 0; i < count; ++i) {
    if (!map) {
      if (i > 0) out += ',';
      append_json(out, message, field, i, trouble);
      continue;
    }
    const pb::Message& entry = of.GetRepeatedMessage(message, &field, i);
    const pb::Descriptor& type = *entry.GetDescriptor();
    const Scalar key = scalar_of(entry, *type.map_key(), -1);
    if (i > 0) out += ',';
    Scalar name{FieldKind::string, key.text};
    append_json(out, name, trouble);
    out += ':';
    append_json(out, entry, *type.map_value(), -1, trouble);
  }
  out += map ? '}' : ']';
}

// A list of enums as a list of their numbers.
void append_json_numbers(std::string& out,
                         const pb::Message& message,
                         const pb::FieldDescriptor& field) {
  const int count = message.GetReflection()->FieldSize(message, &field);
  out += '[';
  for (int i = 0; i < count; ++i) {
    if (i > 0) out += ',';
    out += scalar_of(message, field, i).alternative;
  }
  out += ']';
}

bool is_there(const pb::Message& message, const pb::FieldDescriptor& field) {
  return field.is_repeated() || !field.has_presence() ||
         message.GetReflection()->HasField(message, &field);
}

void append_json(std::string& out, const pb::Message& message, Trouble& trouble) {
  const pb::Descriptor& type = *message.GetDescriptor();
  if (view(type.full_name()) == timestamp_name) {
    const auto text = timestamp_text(message);
    if (!text) trouble.what = "a timestamp in it is out of range";
    return append_json_string(out, text.value_or(""));
  }
  out += '{';
  bool first = true;
  for (int i = 0; i < type.field_count(); ++i) {
    const pb::FieldDescriptor& field = *type.field(i);
    if (!is_there(message, field)) continue;
    if (!std::exchange(first, false)) out += ',';
    append_json_string(out, field.name());
    out += ':';
    append_json_field(out, message, field, trouble);
  }
  out += '}';
}

struct Step {
  const pb::FieldDescriptor* field = nullptr;
  std::optional<int> index{};        // Of a list's element.
  std::optional<std::string> key{};  // Of a map's.
  bool number = false;               // Of an enum or a list of them, and not the name.

  // What it leads to; null: a list or a map.
  const pb::FieldDescriptor* value() const {
    if (key) return field->message_type()->map_value();
    return field->is_repeated() && !index ? nullptr : field;
  }
};

}  // namespace

struct Schema::Types {
  pb::DescriptorPool pool;
  const pb::Descriptor* message = nullptr;
};

Schema::Schema(std::unique_ptr<Types> types,
               std::string_view descriptor_set,
               std::string_view message)
    : types_(std::move(types)), descriptor_set_(descriptor_set), message_(message) {}
Schema::~Schema() = default;

Result<std::shared_ptr<const Schema>> Schema::make(std::string_view descriptor_set,
                                                   std::string_view message) {
  pb::SetLogHandler(nullptr);  // What it has to say comes as an error.
  if (descriptor_set.size() > size_max) {
    return fail(
        Errc::exhausted,
        fmt::format(
            "the descriptor set has {} bytes; at most {}", descriptor_set.size(), size_max));
  }
  constexpr int set_depth_max = 100;
  pb::FileDescriptorSet set;
  if (!parse(set, descriptor_set, set_depth_max) || set.file_size() == 0) {
    return fail(Errc::invalid,
                "it is no FileDescriptorSet; write one with protoc --include_imports "
                "--descriptor_set_out=FILE");
  }
  auto types = std::make_unique<Types>();
  Complaints complaints;
  for (const pb::FileDescriptorProto& file : set.file()) {
    if (types->pool.FindFileByName(file.name())) continue;
    if (!types->pool.BuildFileCollectingErrors(file, &complaints)) {
      return fail(Errc::invalid,
                  complaints.first + " (protoc --include_imports puts all that is needed into it)");
    }
  }
  types->message = types->pool.FindMessageTypeByName(std::string(message));
  if (!types->message) {
    return fail(Errc::invalid, fmt::format("the descriptor set has no message {}", quote(message)));
  }
  return std::shared_ptr<const Schema>(new Schema(std::move(types), descriptor_set, message));
}

struct FieldReader::Parts {
  std::shared_ptr<const Schema> schema;
  std::vector<std::vector<Step>> paths;
  std::unique_ptr<pb::DynamicMessageFactory> factory;
  std::unique_ptr<pb::Message> message;
  std::vector<Field> fields;
  struct Texts {
    std::string raw;
    Scalar scalar;
  };
  std::vector<Texts> texts;  // What the fields' views are into.

  void read_field(const pb::Message& message, const Step& step, std::size_t path, Trouble& trouble);
  void follow(std::size_t path, Trouble& trouble);
};

FieldReader::FieldReader(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
FieldReader::FieldReader(FieldReader&& other) noexcept = default;
FieldReader& FieldReader::operator=(FieldReader&& other) noexcept = default;
FieldReader::~FieldReader() = default;

std::size_t FieldReader::count() const noexcept {
  return parts_->paths.size();
}

namespace {

Result<std::vector<Step>> resolve(const pb::Descriptor& root, std::string_view path) {
  std::vector<Step> steps;
  const pb::Descriptor* type = &root;
  const auto wrong = [&](std::string what) {
    return fail(Errc::invalid, quote(path) + " leads to nothing: " + what);
  };
  for (std::string_view rest = path; !rest.empty() || steps.empty();) {
    if (rest.starts_with('[')) {
      const std::size_t close = std::min(rest.find(']'), rest.size());
      const auto index = parse_number<std::size_t>(rest.substr(1, close - 1));
      if (close == rest.size() || !index || *index > json::FieldReader::index_max) {
        return wrong("write [0] for an element");
      }
      const bool list = !steps.empty() && steps.back().field->is_repeated() &&
                        !steps.back().field->is_map() && !steps.back().index &&
                        !steps.back().number;
      if (!list) return wrong("what stands before [ is no list");
      steps.back().index = static_cast<int>(*index);
      rest.remove_prefix(close + 1);
      continue;
    }
    if (!steps.empty()) {
      if (!rest.starts_with('.')) return wrong("write a dot between names");
      rest.remove_prefix(1);
    }
    const std::size_t end = std::min(rest.find_first_of(".["), rest.size());
    const std::string name(rest.substr(0, end));
    rest.remove_prefix(end);
    if (!steps.empty() && steps.back().field->is_map() && !steps.back().key) {
      steps.back().key = name;
      const pb::FieldDescriptor& value = *steps.back().field->message_type()->map_value();
      type = value.message_type();
      continue;
    }
    if (!steps.empty() && !steps.back().value()) {
      if (steps.back().field->enum_type() && name == "number" && !steps.back().number) {
        steps.back().number = true;
        continue;
      }
      return wrong(fmt::format("{} is a list; say which element, as in {}[0]",
                               view(steps.back().field->name()),
                               view(steps.back().field->name())));
    }
    const pb::FieldDescriptor* const before = steps.empty() ? nullptr : steps.back().value();
    if (before && before->enum_type() && name == "number" && !steps.back().number) {
      steps.back().number = true;
      continue;
    }
    if (!type) return wrong(fmt::format("what stands before {} is no message", quote(name)));
    const pb::FieldDescriptor* const field = type->FindFieldByName(name);
    if (!field) {
      return wrong(fmt::format("{} has no field {}", view(type->full_name()), quote(name)));
    }
    steps.push_back({.field = field});
    type = field->is_map() ? nullptr : field->message_type();
  }
  return steps;
}

}  // namespace

Result<FieldReader> FieldReader::make(std::shared_ptr<const Schema> schema,
                                      const std::vector<std::string>& paths) {
  auto parts = std::make_unique<Parts>();
  for (const std::string& path : paths) {
    MERIDIAN_TRY(auto steps, resolve(*schema->types_->message, path));
    parts->paths.push_back(std::move(steps));
  }
  parts->factory = std::make_unique<pb::DynamicMessageFactory>(&schema->types_->pool);
  parts->message.reset(parts->factory->GetPrototype(schema->types_->message)->New());
  parts->schema = std::move(schema);
  parts->fields.resize(paths.size());
  parts->texts.resize(paths.size());
  return FieldReader(std::move(parts));
}

// The value that a path's last step leads to.
void FieldReader::Parts::read_field(const pb::Message& from,
                                    const Step& step,
                                    std::size_t path,
                                    Trouble& trouble) {
  Field& field = fields[path];
  Texts& kept = texts[path];
  const pb::FieldDescriptor* of = step.field;
  const pb::Message* holder = &from;
  int index = step.index.value_or(-1);
  if (step.key) {
    const pb::Reflection& reflection = *from.GetReflection();
    const pb::Message* found = nullptr;
    for (int i = 0; i < reflection.FieldSize(from, step.field); ++i) {
      const pb::Message& entry = reflection.GetRepeatedMessage(from, step.field, i);
      if (scalar_of(entry, *entry.GetDescriptor()->map_key(), -1).text == *step.key) found = &entry;
    }
    if (!found) return;
    holder = found;
    of = found->GetDescriptor()->map_value();
    index = -1;
  } else if (step.index) {
    if (*step.index >= from.GetReflection()->FieldSize(from, step.field)) return;
  } else if (!is_there(from, *step.field)) {
    return;
  }
  kept.raw.clear();
  if (of->is_repeated() && index < 0) {
    kept.scalar.alternative.clear();
    if (of->enum_type()) append_json_numbers(kept.scalar.alternative, *holder, *of);
    if (step.number) {
      kept.raw = std::exchange(kept.scalar.alternative, {});
    } else {
      append_json_field(kept.raw, *holder, *of, trouble);
    }
    field = {.kind = of->is_map() ? FieldKind::object : FieldKind::array,
             .raw = kept.raw,
             .text = kept.raw,
             .alternative = kept.scalar.alternative};
    return;
  }
  if (of->cpp_type() == CppType::CPPTYPE_MESSAGE) {
    append_json(kept.raw, *holder, *of, index, trouble);
    field = {.kind = FieldKind::object, .raw = kept.raw, .text = kept.raw};
    if (view(of->message_type()->full_name()) == timestamp_name && kept.raw.size() >= 2) {
      field.kind = FieldKind::string;
      field.text = field.raw.substr(1, field.raw.size() - 2);
    }
    return;
  }
  kept.scalar = scalar_of(*holder, *of, index);
  append_json(kept.raw, kept.scalar, trouble);
  field = {.kind = kept.scalar.kind,
           .raw = kept.raw,
           .text = kept.scalar.text,
           .alternative = kept.scalar.alternative};
  if (step.number) {
    field = {
        .kind = FieldKind::number, .raw = kept.scalar.alternative, .text = kept.scalar.alternative};
  }
}

void FieldReader::Parts::follow(std::size_t path, Trouble& trouble) {
  const pb::Message* at = message.get();
  const std::vector<Step>& steps = paths[path];
  for (std::size_t i = 0; i + 1 < steps.size(); ++i) {
    const Step& step = steps[i];
    const pb::Reflection& of = *at->GetReflection();
    if (step.key) {
      const pb::Message* found = nullptr;
      for (int entry = 0; entry < of.FieldSize(*at, step.field); ++entry) {
        const pb::Message& each = of.GetRepeatedMessage(*at, step.field, entry);
        if (scalar_of(each, *each.GetDescriptor()->map_key(), -1).text == *step.key) found = &each;
      }
      if (!found) return;
      at = &found->GetReflection()->GetMessage(*found, found->GetDescriptor()->map_value());
    } else if (step.index) {
      if (*step.index >= of.FieldSize(*at, step.field)) return;
      at = &of.GetRepeatedMessage(*at, step.field, *step.index);
    } else {
      if (!is_there(*at, *step.field)) return;
      at = &of.GetMessage(*at, step.field);
    }
  }
  read_field(*at, steps.back(), path, trouble);
}

Result<const std::vector<Field>*> FieldReader::read(std::string_view bytes) {
  Parts& parts = *parts_;
  const std::string& type = parts.schema->types_->message->full_name();
  if (bytes.size() > size_max) {
    return fail(Errc::exhausted,
                fmt::format("a message of {} bytes; at most {}", bytes.size(), size_max));
  }
  for (Field& field : parts.fields)
    field = Field();
  if (parts.message->SpaceUsedLong() > kept_memory_max) {
    parts.message.reset(parts.message->New());
  } else {
    parts.message->Clear();
  }
  if (!parse(*parts.message, bytes, depth_max)) {
    return fail(
        Errc::invalid,
        fmt::format(
            "it is no message of {}, or one of more than {} levels", view(type), depth_max));
  }
  if (!parts.message->IsInitialized()) {
    return fail(Errc::invalid, fmt::format("a required field of {} is not set", view(type)));
  }
  Trouble trouble;
  for (std::size_t path = 0; path < parts.paths.size(); ++path) {
    parts.follow(path, trouble);
    if (!trouble.what.empty()) {
      return fail(Errc::invalid, fmt::format("{}: {}", view(type), trouble.what));
    }
  }
  return &parts.fields;
}

}  // namespace meridian::protobuf
