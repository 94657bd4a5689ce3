// An operation in the rank's log, while it lives. For the files of Comm only.
#pragma once

#include <string>
#include <string_view>

#include "comm/comm.h"

namespace cria {

class Comm::Noted {
 public:
  Noted(CommWorld& world, std::string_view what, const std::string& group, int64_t size)
      : kind(what), bytes(size), number(world.log.begin(what, group, size)), log_(world.log) {}
  ~Noted() { log_.end(number); }
  Noted(const Noted&) = delete;
  Noted& operator=(const Noted&) = delete;
  const std::string_view kind;
  const int64_t bytes, number;

 private:
  OperationLog& log_;
};

}  // namespace cria
