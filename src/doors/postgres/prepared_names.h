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

  struct Prepared {
    Shape shape;        // Null for a name that is not known.
    RequestId request;  // That its text gave; or nil.
  };

  void prepare(std::string_view statement, Prepared prepared) {
    put(statements_, unnamed_statement_, statement, std::move(prepared));
  }
  void bind(std::string_view portal, std::string_view statement) {
    const Shape& shape = find(statements_, unnamed_statement_, statement).shape;
    // What is executed again and again is bound to the same each time.
    if (portal.empty() && unnamed_portal_ == shape) return;
    put(portals_, unnamed_portal_, portal, shape);
  }
  void close_statement(std::string_view statement) {
    erase(statements_, unnamed_statement_, statement);
  }
  void close_portal(std::string_view portal) { erase(portals_, unnamed_portal_, portal); }

  const Prepared& statement(std::string_view name) const {
    return find(statements_, unnamed_statement_, name);
  }
  // Null for a name that is not known.
  const Shape& portal(std::string_view name) const { return find(portals_, unnamed_portal_, name); }

  // A simple query destroys the unnamed ones.
  void drop_unnamed() {
    unnamed_statement_ = {};
    unnamed_portal_ = {};
  }

  bool has_unnamed_statement() const noexcept { return unnamed_statement_.shape != nullptr; }
  bool has_unnamed_portal() const noexcept { return unnamed_portal_ != nullptr; }

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const noexcept { return hash_bytes(text); }
  };
  template <class Known>
  using Names = std::unordered_map<std::string, Known, Hash, std::equal_to<>>;

  template <class Known>
  static void put(Names<Known>& names, Known& unnamed, std::string_view name, Known known) {
    if (name.empty()) {
      unnamed = std::move(known);
      return;
    }
    const auto found = names.find(name);
    if (found != names.end()) {
      found->second = std::move(known);
    } else if (names.size() < names_max) {
      names.emplace(name, std::move(known));
    }
  }
  template <class Known>
  static const Known& find(const Names<Known>& names, const Known& unnamed, std::string_view name) {
    static const Known none{};
    if (name.empty()) return unnamed;
    const auto found = names.find(name);
    return found == names.end() ? none : found->second;
  }
  template <class Known>
  static void erase(Names<Known>& names, Known& unnamed, std::string_view name) {
    if (name.empty()) {
      unnamed = {};
    } else if (const auto found = names.find(name); found != names.end()) {
      names.erase(found);
    }
  }

  Prepared unnamed_statement_;
  Shape unnamed_portal_;
  Names<Prepared> statements_;
  Names<Shape> portals_;
};

}  // namespace meridian
