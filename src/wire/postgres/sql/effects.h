#pragma once
// What a statement leaves behind in its session, and what it does to its transaction.
//
// For the files of this folder alone.

#include "wire/postgres/sql/analysis.h"
#include "wire/postgres/sql/names.h"

namespace meridian::postgres {

// Fills kind, reads_only, effects, subject, settings and transaction of `statement`, whose names
// have been found.
void find_effects(const PgQuery__Node& tree, const Findings& findings, Statement& statement);

}  // namespace meridian::postgres
