#include "checkpoint/agreement.h"

#include <array>
#include <exception>
#include <new>

#include "base/error.h"

namespace cria {
namespace {

struct Outcome {
  std::exception_ptr thrown;
  ExitCode code = ExitCode::ok;
  std::string message;
};

Outcome outcome_of(const std::function<void()>& part) {
  Outcome out;
  try {
    part();
  } catch (const Error& e) {
    out = {std::current_exception(), e.code, e.what()};
  } catch (const std::bad_alloc&) {
    out = {std::current_exception(), ExitCode::memory, "not enough memory"};
  } catch (const std::exception& e) {
    out = {std::current_exception(), ExitCode::bug, e.what()};
  }
  return out;
}

[[noreturn]] void throw_as(ExitCode code, const std::string& message) {
  switch (code) {
    case ExitCode::usage:
      throw UsageError(message);
    case ExitCode::format:
      throw FormatError(message);
    case ExitCode::io:
      throw IoError(message);
    case ExitCode::mismatch:
      throw MismatchError(message);
    default:
      throw Error(code, message);
  }
}

}  // namespace

void run_together(Comm& world, const std::function<void()>& part) {
  if (world.alone()) return part();
  const Outcome mine = outcome_of(part);
  std::vector<int64_t> codes(static_cast<size_t>(world.size()));
  codes[static_cast<size_t>(world.rank())] = static_cast<int64_t>(mine.code);
  world.all_reduce(codes);
  size_t first = 0;
  while (first < codes.size() && codes[first] == 0) ++first;
  if (first == codes.size()) return;
  const std::string message = share_text(world, mine.message, static_cast<int>(first));
  if (static_cast<int>(first) == world.rank()) std::rethrow_exception(mine.thrown);
  throw_as(static_cast<ExitCode>(codes[first]), fmt::format("rank {}: {}", first, message));
}

std::string share_text(Comm& world, std::string_view text, int from) {
  std::array<int64_t, 1> size = {static_cast<int64_t>(text.size())};
  world.broadcast(std::as_writable_bytes(std::span(size)), from);
  std::string out(text);
  out.resize(static_cast<size_t>(size[0]));
  if (!out.empty()) world.broadcast(std::as_writable_bytes(std::span(out)), from);
  return out;
}

std::vector<std::string> gather_texts(Comm& reports, std::string_view mine) {
  std::array<int64_t, 1> size = {static_cast<int64_t>(mine.size())};
  if (reports.rank() != 0) {
    Comm::Pending length = reports.send(std::as_bytes(std::span(size)), 0);
    Comm::Pending text = reports.send(std::as_bytes(std::span(mine)), 0);
    length.wait();
    text.wait();
    return {};
  }
  std::vector<std::string> texts = {std::string(mine)};
  for (int rank = 1; rank < reports.size(); ++rank) {
    reports.receive(std::as_writable_bytes(std::span(size)), rank);
    std::string& text = texts.emplace_back(static_cast<size_t>(size[0]), '\0');
    reports.receive(std::as_writable_bytes(std::span(text)), rank);
  }
  return texts;
}

}  // namespace cria
