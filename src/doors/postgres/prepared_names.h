#pragma once
// Which statement a client's names stand for: prepared statements and portals of one session.

#include "doors/postgres/statement.h"

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

namespace meridian {

class PreparedNames {
 public:
  static constexpr std::size_t names_max =
      10'000;  // Of each kind; more are not known, and taken to write.

  using Shape = std::shared_ptr<StatementShape>;

  void prepare(std::string_view statement, Shape shape) {
    put(statements_, unnamed_statement_, statement, std::move(shape));
  }
  void bind(std::string_view portal, std::string_view statement) {
    const Shape& shape = find(statements_, unnamed_statement_, statement);
    // What is executed again and again is bound to the same each time.
    if (portal.empty() && unnamed_portal_ == shape) return;
    put(portals_, unnamed_portal_, portal, shape);
  }
  void close_statement(std::string_view statement) {
    erase(statements_, unnamed_statement_, statement);
  }
  void close_portal(std::string_view portal) { erase(portals_, unnamed_portal_, portal); }

  // Null for a name that is not known.
  const Shape& statement(std::string_view name) const {
    return find(statements_, unnamed_statement_, name);
  }
  const Shape& portal(std::string_view name) const { return find(portals_, unnamed_portal_, name); }

  // A simple query destroys the unnamed ones.
  void drop_unnamed() {
    unnamed_statement_.reset();
    unnamed_portal_.reset();
  }

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const noexcept { return hash_bytes(text); }
  };
  using Names = std::unordered_map<std::string, Shape, Hash, std::equal_to<>>;

  static void put(Names& names, Shape& unnamed, std::string_view name, Shape shape) {
    if (name.empty()) {
      unnamed = std::move(shape);
      return;
    }
    const auto found = names.find(name);
    if (found != names.end()) {
      found->second = std::move(shape);
    } else if (names.size() < names_max) {
      names.emplace(name, std::move(shape));
    }
  }
  static const Shape& find(const Names& names, const Shape& unnamed, std::string_view name) {
    static const Shape none;
    if (name.empty()) return unnamed;
    const auto found = names.find(name);
    return found == names.end() ? none : found->second;
  }
  static void erase(Names& names, Shape& unnamed, std::string_view name) {
    if (name.empty()) {
      unnamed.reset();
    } else if (const auto found = names.find(name); found != names.end()) {
      names.erase(found);
    }
  }

  Shape unnamed_statement_;
  Shape unnamed_portal_;
  Names statements_;
  Names portals_;
};

}  // namespace meridian
