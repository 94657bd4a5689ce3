// Layouts held against the run on one rank that they must agree with.
#pragma once

#include <cstdlib>
#include <map>
#include <string>
#include <utility>

#include "parallel/layout_rig.h"

namespace cria::test {

/// Layouts without tensor parallelism must give the bits of the run they equal by construction; tensor parallelism, which adds in
/// another order, must stay within a tolerance. Every rank of the transport makes the same calls; rank 0 compares and prints what
/// failed.
class LayoutCheck {
 public:
  /// `device`: as run_layout().
  LayoutCheck(Transport& transport, int steps, OpenDevice device = nullptr)
      : transport_(transport), steps_(steps), device_(std::move(device)) {}

  void check(const Layout& layout, bool must_agree);
  [[nodiscard]] int failures() const { return failures_; }
  [[nodiscard]] int runs() const { return runs_; }

 private:
  const Outcome& reference(const Layout& layout);

  Transport& transport_;
  int steps_, failures_ = 0, runs_ = 0;
  OpenDevice device_;
  bool verbose_ = std::getenv("LAYOUT_MATRIX_VERBOSE") != nullptr;
  std::map<std::string, Outcome> references_;
};

}  // namespace cria::test
