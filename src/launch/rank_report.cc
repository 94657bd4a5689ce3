#include "launch/rank_report.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>
#include <vector>

#include "base/error.h"

namespace cria {

namespace {

constexpr std::string_view kMark = "cria-rank";

std::optional<int64_t> to_number(std::string_view word) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc() || end != word.data() + word.size()) return {};
  return value;
}

/// Takes the next word and the blank behind it off the line.
std::string_view take_word(std::string_view& line) {
  const size_t end = std::min(line.find(' '), line.size());
  const std::string_view word = line.substr(0, end);
  line.remove_prefix(std::min(end + 1, line.size()));
  return word;
}

bool tells_of_error(std::string line) {
  for (char& c : line)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  const auto has = [&](const char* word) { return line.find(word) != std::string::npos; };
  return has("error") || has("critical") || has("terminate");
}

}  // namespace

bool RankReport::failed() const {
  return event == Event::ended && (signal != 0 || (exit_code != 0 && exit_code != 75));
}

std::string report_line(const RankReport& r, std::string_view token) {
  std::string host = escaped(r.host, 60);
  std::replace(host.begin(), host.end(), ' ', '_');
  std::string line = fmt::format("{} {} {} {} {} ", kMark, token, r.rank, r.pid, host);
  if (r.event == RankReport::Event::started) return line + fmt::format("started {}\n", r.job);
  const char* event = r.event == RankReport::Event::ended ? "ended" : "told";
  return line +
         fmt::format("{} {} {} {}\n", event, r.exit_code, r.signal, escaped(r.last_line, 150));
}

std::optional<RankReport> parse_report(std::string_view line, std::string_view token) {
  if (take_word(line) != kMark || take_word(line) != token) return {};
  RankReport report;
  const auto rank = to_number(take_word(line)), pid = to_number(take_word(line));
  report.host = take_word(line);
  const std::string_view event = take_word(line);
  if (!rank || !pid || *rank < 0 || *rank > INT32_MAX) return {};
  report.rank = static_cast<int>(*rank);
  report.pid = *pid;
  if (event == "started") {
    const auto job = to_number(take_word(line));
    if (!job || *job < 0 || *job > UINT32_MAX) return {};
    report.job = static_cast<uint32_t>(*job);
    return report;
  }
  const auto code = to_number(take_word(line)), signal = to_number(take_word(line));
  if ((event != "ended" && event != "told") || !code || !signal || *code < 0 || *code > 255)
    return {};
  if (*signal < 0 || *signal > 64) return {};
  report.event = event == "ended" ? RankReport::Event::ended : RankReport::Event::told_to_end;
  report.exit_code = static_cast<int>(*code);
  report.signal = static_cast<int>(*signal);
  report.last_line = line;
  return report;
}

std::vector<int> ranks_waited_for(std::string_view line) {
  constexpr std::string_view waited = " has waited ", whom = " for rank ";
  const size_t at = line.find(waited);
  const size_t list = at == std::string_view::npos ? at : line.find(whom, at);
  std::vector<int> ranks;
  if (list == std::string_view::npos) return ranks;
  const char* c = line.data() + list + whom.size();
  const char* const end = line.data() + line.size();
  for (int rank = 0;;) {
    const auto [next, bad] = std::from_chars(c, end, rank);
    if (bad != std::errc() || rank < 0) return ranks;
    ranks.push_back(rank);
    if (end - next < 2 || next[0] != ',' || next[1] != ' ') return ranks;
    c = next + 2;
  }
}

std::string last_error_line(const std::string& log_path) {
  constexpr std::streamoff kTail = 64 << 10;
  std::ifstream in(log_path, std::ios::binary | std::ios::ate);
  if (!in) return "";
  const std::streamoff size = in.tellg();
  in.seekg(std::max<std::streamoff>(0, size - kTail));
  std::string last, telling;
  for (std::string line; std::getline(in, line);) {
    if (line.empty()) continue;
    last = line;
    if (tells_of_error(line)) telling = line;
  }
  return telling.empty() ? last : telling;
}

}  // namespace cria
