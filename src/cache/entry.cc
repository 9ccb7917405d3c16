#include "cache/entry.h"

#include <cstring>
#include <new>

namespace meridian {
namespace {

char* put(char* at, std::string_view bytes) noexcept {
  std::memcpy(at, bytes.data(), bytes.size());
  return at + bytes.size();
}

char* put_sized(char* at, std::string_view bytes) noexcept {
  const auto size = static_cast<std::uint32_t>(bytes.size());
  std::memcpy(at, &size, sizeof(size));
  return put(at + sizeof(size), bytes);
}

}  // namespace

void Entry::Deleter::operator()(Entry* entry) const noexcept {
  entry->~Entry();
  ::operator delete(entry);
}

Entry::Owner Entry::make(const ViewKey& key, const ViewValue& value, const SlotStamp& stamp) {
  std::size_t size = sizeof(Entry) + key.text.size() + value.json.size();
  for (const auto& [name, text] : value.fields) {
    size += 2 * sizeof(std::uint32_t) + name.size() + text.size();
  }
  Owner entry(new (::operator new(size)) Entry());
  entry->hash_ = key.hash;
  entry->size_ = size;
  entry->key_size_ = static_cast<std::uint32_t>(key.text.size());
  entry->json_size_ = static_cast<std::uint32_t>(value.json.size());
  entry->fields_count_ = static_cast<std::uint32_t>(value.fields.size());
  entry->present_ = value.present;
  entry->stamp_ = stamp;
  char* at = reinterpret_cast<char*>(entry.get() + 1);
  at = put(at, key.text);
  at = put(at, value.json);
  for (const auto& [name, text] : value.fields)
    at = put_sized(put_sized(at, name), text);
  return entry;
}

std::string_view Entry::take(const char*& at) noexcept {
  std::uint32_t size = 0;
  std::memcpy(&size, at, sizeof(size));
  const std::string_view bytes(at + sizeof(size), size);
  at += sizeof(size) + size;
  return bytes;
}

}  // namespace meridian
