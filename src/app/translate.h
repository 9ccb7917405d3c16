#pragma once
// From what the user configured to what each folder is told.

#include "app/config/config.h"
#include "gate/config.h"
#include "pool/pool.h"
#include "streams/rule.h"

#include <map>
#include <string>
#include <vector>

namespace meridian {

// `issuer_url` is where this node's discovery document is served; `key_folder` holds its own
// issuer's keys.
GateConfig to_gate_config(const config::Config& config,
                          std::string issuer_url,
                          std::string key_folder);

// The subjects of the outbox's stream; none when nothing is published.
std::vector<std::string> outbox_subjects(const config::Config& config);

std::map<std::string, PoolOptions> to_pool_options(const config::Config& config);

RuleSettings to_rule_settings(const std::string& name, const config::IngestConfig& config);

// The database that views read and whose commits they wait for: what views say, else the only one
// that roles may enter, else "postgres".
std::string timeline_database(const config::Config& config);

// Every database that a role may enter by name, the timeline's first.
std::vector<std::string> named_databases(const config::Config& config);

// Every role that is a login role of the database: those with databases, and those
// that fill views or that messages become rows as.
std::vector<std::string> database_roles(const config::Config& config);

}  // namespace meridian
