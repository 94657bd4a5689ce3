// The memory of this machine and of this process.
#pragma once

#include <cstdint>
#include <string_view>

namespace cria {

/// What this process may still take: the control group's limit or MemAvailable, whichever is less. 0: unknown.
int64_t available_memory();

/// The most memory that this process holds and that cannot be dropped: without pages of mapped files.
class PeakMemory {
 public:
  /// The system's own peak begins anew with what is held now (Linux 4.0 or later; nothing happens where it is not allowed).
  static void forget();
  /// Called when a step is done: the system's own peak of this process, less the files' pages that are mapped now.
  void look();
  /// Pages of files that are mapped no more stay in the system's peak (a save maps what it sums). From now on look() counts what
  /// is held at that moment.
  void files_were_unmapped() { momentary_ = true; }
  /// 0: unknown.
  [[nodiscard]] int64_t bytes() const { return bytes_; }

 private:
  bool momentary_ = false;
  int64_t bytes_ = 0;
};

/// "64GB", "58.5GiB", "512MB", "1000000": bytes. GB and GiB are both 2^30, as in the recipe's max_device_memory. Throws UsageError
/// naming `flag`.
int64_t parse_bytes(std::string_view text, std::string_view flag);

}  // namespace cria
