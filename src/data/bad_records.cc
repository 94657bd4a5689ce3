#include "data/bad_records.h"

namespace cria {

void BadRecords::skip(const FormatError& failure) {
  if (limit_ == 0) throw FormatError(failure);
  if (skipped_ == limit_) {
    throw FormatError(fmt::format("{} (bad records skipped before it: {}, the most allowed)",
                                  failure.what(), skipped_));
  }
  ++skipped_;
  warn(fmt::format("skipped: {}", failure.what()));
}

}  // namespace cria
