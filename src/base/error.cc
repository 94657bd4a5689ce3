#include "base/error.h"

#include <cstdio>
#include <map>
#include <mutex>
#include <new>

namespace cria {

std::string describe(const Fault& f) {
  std::string out(f.what);
  if (!f.path.empty()) out += fmt::format("{}{}", out.empty() ? "" : ": ", f.path);
  if (f.offset >= 0) out += fmt::format(" at byte {}", f.offset);
  if (f.line > 0) out += fmt::format(" line {} col {}", f.line, f.column);
  if (!f.reason.empty()) out += fmt::format("{}{}", out.empty() ? "" : ": ", f.reason);
  if (!f.expected.empty()) out += fmt::format(", expected {}", f.expected);
  if (!f.found.empty()) out += fmt::format(", found {}", f.found);
  if (!f.hint.empty()) out += fmt::format("; try: {}", f.hint);
  return out;
}

std::string escaped(std::string_view bytes, size_t limit) {
  std::string out;
  for (size_t i = 0; i < bytes.size() && i < limit; ++i) {
    const auto c = static_cast<unsigned char>(bytes[i]);
    if (c >= 0x20 && c < 0x7f && c != '\\') {
      out += static_cast<char>(c);
    } else {
      out += fmt::format("\\x{:02x}", c);
    }
  }
  if (bytes.size() > limit) out += "...";
  return out;
}

void warn(std::string_view message) {
  static std::mutex mutex;
  static std::map<std::string, int64_t, std::less<>> seen;
  const std::scoped_lock lock(mutex);
  const auto [entry, fresh] = seen.try_emplace(std::string(message), 0);
  ++entry->second;
  if (fresh) fmt::print(stderr, "warning: {}\n", message);
}

namespace {

// One line, at most 512 bytes with its newline, whatever the exception says.
void print_failure(std::string_view message) noexcept {
  std::string line = "error: ";
  for (const char c : message)
    line += (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) ? ' ' : c;
  if (line.size() > 511) {
    size_t cut = 508;
    while (cut > 0 && (static_cast<unsigned char>(line[cut]) & 0xc0) == 0x80) --cut;
    line.resize(cut);
    line += "...";
  }
  line += '\n';
  std::fflush(stdout);
  std::fputs(line.c_str(), stderr);
  std::fflush(stderr);
}

}  // namespace

int run_guarded(int (*body)(int argc, char** argv), int argc, char** argv) noexcept {
  try {
    return body(argc, argv);
  } catch (const Error& e) {
    print_failure(e.what());
    return static_cast<int>(e.code);
  } catch (const std::bad_alloc&) {
    print_failure("out of memory: an allocation failed");
    return static_cast<int>(ExitCode::memory);
  } catch (const std::exception& e) {
    print_failure(e.what());
    return static_cast<int>(ExitCode::bug);
  } catch (...) {
    print_failure("bug: something that is no exception was thrown");
    return static_cast<int>(ExitCode::bug);
  }
}

}  // namespace cria
