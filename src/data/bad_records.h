// Bad records of a data file, and how many of them a conversion puts up with (`--skip-bad`).
#pragma once

#include <cstdint>

#include "base/error.h"
#include "data/json_records.h"

namespace cria {

/// Records that cannot be read are left out and named on stderr, up to a limit; by default the first
/// one ends the conversion. What breaks the file and not one record (an array's brackets, a record
/// larger than JsonRecords takes) is never skipped.
class BadRecords {
 public:
  explicit BadRecords(int64_t limit = 0) : limit_(limit) {}

  [[nodiscard]] bool allowed() const { return limit_ > 0; }
  /// How to open data from which records are skipped: the first may be bad too.
  [[nodiscard]] JsonRecords::FirstRecord first() const {
    return allowed() ? JsonRecords::FirstRecord::may_be_bad : JsonRecords::FirstRecord::good;
  }
  /// Prints `warning: skipped: <failure>` and counts it. Beyond the limit throws the failure again,
  /// with the number of records skipped before it.
  void skip(const FormatError& failure);
  [[nodiscard]] int64_t skipped() const { return skipped_; }

 private:
  int64_t limit_, skipped_ = 0;
};

}  // namespace cria
