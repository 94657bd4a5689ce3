// The SQLite index beside a MindRecord shard. MindSpore takes the rows from it; we can rebuild it
// from the shard and need it only to be checked.
#pragma once

#include <string>

#include "formats/mindrecord_shard.h"

namespace cria {

/// Fills the new, empty file `database` (a temporary name) with the index of `shard`, in one
/// transaction and without syncing. `shard_name` is the shard's final file name. Throws IoError.
void write_mindrecord_index(const std::string& database, const MindRecordShard& shard,
                            const std::string& shard_name);

/// Compares an index with its shard, row by row. The database is hostile input: opened read-only in
/// SQLite's defensive mode. Throws FormatError at the first difference, IoError when it is missing.
void verify_mindrecord_index(const std::string& database, const MindRecordShard& shard,
                             const std::string& shard_name);

}  // namespace cria
