#include "gate/trail/verify.h"

#include "base/escape.h"
#include "base/hex.h"
#include "gate/trail/disk.h"
#include "gate/trail/json.h"
#include "gate/trail/recovery.h"
#include "gate/trail/shard_verifier.h"

#include <algorithm>
#include <fmt/format.h>
#include <system_error>

namespace meridian::trail {
namespace {

namespace fs = std::filesystem;

class TrailVerifier {
 public:
  TrailVerifier(fs::path folder, const VerifySettings& settings)
      : folder_(std::move(folder)), settings_(settings), keys_(settings.keys) {}

  Result<VerifyReport> run() {
    std::error_code error;
    if (!fs::is_directory(folder_, error)) {
      return fail(Errc::not_found, folder_.string() + " is no folder: name the folder of a trail");
    }
    if (keys_.empty()) {
      MERIDIAN_TRY(keys_, read_public_keys(folder_ / key_folder));
    }
    VerifyReport report;
    report.keys_trusted = !keys_.empty();
    MERIDIAN_TRY(const auto nodes, this->nodes());
    for (const std::string& node : nodes) {
      MERIDIAN_CHECK(verify_node(node, report));
    }
    return report;
  }

 private:
  // Those that have a folder, and those that only heads know of.
  Result<std::vector<std::string>> nodes() const {
    MERIDIAN_TRY(auto names, list_names(folder_));
    std::error_code error;
    std::erase_if(names, [&](const std::string& name) {
      return !is_node_name(name) || !fs::is_directory(folder_ / name, error);
    });
    for (const SignedHead& head : settings_.heads) {
      names.push_back(head.node);
    }
    std::ranges::sort(names);
    names.erase(std::ranges::unique(names).begin(), names.end());
    std::erase_if(names, [&](const std::string& name) {
      return !settings_.node.empty() && name != settings_.node;
    });
    return names;
  }

  std::vector<const SignedHead*> heads_of(const std::string& node, std::uint32_t shard) const {
    std::vector<const SignedHead*> heads;
    for (const SignedHead& head : settings_.heads) {
      if (head.node == node && head.shard == shard) heads.push_back(&head);
    }
    std::ranges::sort(heads, {}, [](const SignedHead* head) { return head->sequence; });
    return heads;
  }

  Result<void> verify_node(const std::string& node, VerifyReport& report) {
    MERIDIAN_TRY(const auto shards, list_segments(folder_ / node));
    // Shard 0 comes first and has the retention records of all.
    std::map<std::uint32_t, std::uint64_t> removed;
    for (const ShardSegments& shard : shards) {
      const auto heads = heads_of(node, shard.shard);
      ShardVerifier verifier(folder_ / node, node, shard.shard, keys_, heads);
      verifier.run(shard.numbers);
      if (shard.shard == 0) removed = verifier.removed_through();
      const auto found = removed.find(shard.shard);
      verifier.account_for_missing(found == removed.end() ? 0 : found->second);
      report.shards.push_back(verifier.take_report());
    }
    note_lost_shards(node, shards, report);
    return {};
  }

  // A shard that a head tells of and that has no segment at all.
  void note_lost_shards(const std::string& node,
                        const std::vector<ShardSegments>& shards,
                        VerifyReport& report) const {
    std::map<std::uint32_t, const SignedHead*> lost;
    for (const SignedHead& head : settings_.heads) {
      const bool here =
          std::ranges::find(shards, head.shard, &ShardSegments::shard) != shards.end();
      if (head.node == node && !here) lost.emplace(head.shard, &head);
    }
    for (const auto& [shard, head] : lost) {
      ShardReport& entry = report.shards.emplace_back();
      entry.node = node;
      entry.shard = shard;
      entry.findings.push_back({.fault = Fault::truncated,
                                .file = segment_name(shard, head->segment),
                                .sequence = head->sequence,
                                .offset = 0,
                                .kind = std::nullopt,
                                .time = std::nullopt,
                                .detail = "a head of this shard is known, but it has no segment"});
    }
  }

  fs::path folder_;
  const VerifySettings& settings_;
  std::vector<PublicKey> keys_;
};

std::string describe(const Finding& finding) {
  std::string place = finding.file;
  if (finding.sequence == 0) {
    place += finding.fault == Fault::missing_segment ? "" : ", segment header";
  } else {
    place += fmt::format(", record {}", finding.sequence);
    if (finding.kind) place += fmt::format(" ({})", to_string(*finding.kind));
    if (finding.offset != 0) place += fmt::format(" at byte {}", finding.offset);
  }
  if (finding.time) place += ", of " + to_rfc3339(*finding.time);
  return fmt::format("{}: {}: {}", to_string(finding.fault), place, escape(finding.detail, 1'024));
}

void append_text(std::string& out, const ShardReport& shard) {
  out += fmt::format("{} shard {}: {}: {} records in {} segments, {} to {}\n",
                     shard.node,
                     shard.shard,
                     shard.findings.empty() ? "intact" : "NOT INTACT",
                     shard.records_count,
                     shard.segments_count,
                     shard.first_sequence,
                     shard.last_sequence);
  if (shard.last_head) {
    out += fmt::format("  last head: record {}, signed {}, hash {}\n",
                       shard.last_head->sequence,
                       to_rfc3339(shard.last_head->time),
                       to_hex(shard.last_head->hash));
  } else {
    out += "  last head: none\n";
  }
  if (shard.unsealed_count > 0) {
    out += fmt::format("  not signed yet: {} records\n", shard.unsealed_count);
  }
  for (const std::string& note : shard.notes) {
    out += fmt::format("  note: {}\n", note);
  }
  for (const Finding& finding : shard.findings) {
    out += fmt::format("  {}\n", describe(finding));
  }
  if (shard.findings_left_out > 0) {
    out += fmt::format("  and {} findings more\n", shard.findings_left_out);
  }
}

void append_json(JsonWriter& json, const Finding& finding) {
  json.open_object().field("fault", to_string(finding.fault)).field("file", finding.file);
  json.field("sequence", finding.sequence).field("offset", finding.offset);
  if (finding.kind) json.field("kind", to_string(*finding.kind));
  if (finding.time) json.field("time", to_rfc3339(*finding.time));
  json.field("detail", finding.detail).close_object();
}

void append_json(JsonWriter& json, const ShardReport& shard) {
  json.open_object()
      .field("node", shard.node)
      .field("shard", std::uint64_t{shard.shard})
      .field("intact", shard.findings.empty())
      .field("segments", shard.segments_count)
      .field("records", shard.records_count)
      .field("first_sequence", shard.first_sequence)
      .field("last_sequence", shard.last_sequence)
      .field("last_hash", to_hex(shard.last_hash));
  if (shard.last_head) {
    json.name("last_head")
        .open_object()
        .field("sequence", shard.last_head->sequence)
        .field("time", to_rfc3339(shard.last_head->time))
        .field("hash", to_hex(shard.last_head->hash))
        .field("key", to_hex(shard.last_head->key))
        .close_object();
  }
  json.field("unsealed_records", shard.unsealed_count);
  json.name("findings").open_array();
  for (const Finding& finding : shard.findings) {
    append_json(json, finding);
  }
  json.close_array().field("findings_left_out", shard.findings_left_out);
  json.name("notes").open_array();
  for (const std::string& note : shard.notes) {
    json.value(note);
  }
  json.close_array().close_object();
}

}  // namespace

std::string_view to_string(Fault fault) noexcept {
  switch (fault) {
    case Fault::header_mismatch:
      return "header mismatch";
    case Fault::unknown_key:
      return "unknown key";
    case Fault::missing_segment:
      return "missing segment";
    case Fault::hash_mismatch:
      return "hash mismatch";
    case Fault::sequence_gap:
      return "sequence gap";
    case Fault::malformed:
      return "malformed";
    case Fault::bad_signature:
      return "bad signature";
    case Fault::rewritten:
      return "rewritten";
    case Fault::altered_tail:
      return "altered tail";
    case Fault::truncated:
      return "truncated";
    case Fault::unreadable:
      return "unreadable";
  }
  return "unknown";
}

bool VerifyReport::intact() const noexcept {
  return std::ranges::all_of(shards,
                             [](const ShardReport& shard) { return shard.findings.empty(); });
}

Result<VerifyReport> verify(const fs::path& folder, const VerifySettings& settings) {
  return TrailVerifier(folder, settings).run();
}

std::string to_text(const VerifyReport& report) {
  std::string out;
  for (const ShardReport& shard : report.shards) {
    append_text(out, shard);
  }
  if (report.shards.empty()) out += "there is no trail here\n";
  if (!report.keys_trusted) {
    out += "keys: none to compare with, so those that the segments name were believed\n";
  }
  out += report.intact() ? "the trail is intact\n" : "the trail is NOT intact\n";
  return out;
}

std::string to_json(const VerifyReport& report) {
  JsonWriter json;
  json.open_object().field("intact", report.intact()).field("keys_trusted", report.keys_trusted);
  json.name("shards").open_array();
  for (const ShardReport& shard : report.shards) {
    append_json(json, shard);
  }
  json.close_array().close_object();
  return json.take();
}

}  // namespace meridian::trail
