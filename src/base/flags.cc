// CLI11 does the parsing of values and the help; what it lacks is done on the words before: prefixes, `-` for `_`, overrides.
#include "base/flags.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>

#include "base/error.h"
#include "base/text.h"

namespace cria {
namespace {

std::string underscored(std::string_view name) {
  std::string out(name);
  std::replace(out.begin(), out.end(), '-', '_');
  return out;
}

bool parse_boolean(const std::string& text, bool& value) {
  std::string low;
  for (const char c : text) low += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (low.empty() || low == "true")
    value = true;
  else if (low == "false")
    value = false;
  else
    return false;
  return true;
}

}  // namespace

struct Flags::Impl {
  explicit Impl(const std::string& description, std::string name)
      : app(description, std::move(name)) {}
  CLI::App app;
  std::string command;
  std::vector<std::string> names;  // without the dashes
  std::map<std::string, std::string> aliases;
  std::map<std::string, CLI::Option*> options;
  CLI::Option* words = nullptr;
  std::vector<std::pair<std::string, std::string>>* overrides = nullptr;

  void remember(const std::string& name, CLI::Option* option) {
    names.push_back(name);
    options[name] = option;
  }
  [[nodiscard]] std::string resolve(const std::string& given) const;
  [[nodiscard]] std::vector<std::string> normalise(const std::vector<std::string>& arguments) const;
};

Flags::Flags(std::string command, const std::string& description, const std::string& examples)
    : impl_(std::make_unique<Impl>(description, command)) {
  impl_->command = std::move(command);
  impl_->app.footer("\nExamples:\n" + examples);
  impl_->app.set_help_flag("--help,-h", "shows this text");
  impl_->names.emplace_back("help");
}
Flags::~Flags() = default;

void Flags::text(const std::string& name, std::string& value, const std::string& help) {
  impl_->remember(
      name, impl_->app.add_option("--" + name, value, help)->capture_default_str()->take_last());
}
void Flags::text(const std::string& name, std::optional<std::string>& value,
                 const std::string& help) {
  impl_->remember(name, impl_->app.add_option("--" + name, value, help)->take_last());
}
void Flags::integer(const std::string& name, int64_t& value, const std::string& help) {
  impl_->remember(
      name, impl_->app.add_option("--" + name, value, help)->capture_default_str()->take_last());
}
void Flags::integer(const std::string& name, std::optional<int64_t>& value,
                    const std::string& help) {
  impl_->remember(name, impl_->app.add_option("--" + name, value, help)->take_last());
}
void Flags::number(const std::string& name, double& value, const std::string& help) {
  impl_->remember(
      name, impl_->app.add_option("--" + name, value, help)->capture_default_str()->take_last());
}
void Flags::number(const std::string& name, std::optional<double>& value, const std::string& help) {
  impl_->remember(name, impl_->app.add_option("--" + name, value, help)->take_last());
}
void Flags::boolean(const std::string& name, bool& value, const std::string& help) {
  const auto set = [&value](const CLI::results_t& words) {
    return parse_boolean(words.empty() ? "" : words.back(), value);
  };
  impl_->remember(
      name,
      impl_->app.add_option("--" + name, set, help)->expected(0, 1)->type_name("[true|false]"));
}
void Flags::boolean(const std::string& name, std::optional<bool>& value, const std::string& help) {
  const auto set = [&value](const CLI::results_t& words) {
    return parse_boolean(words.empty() ? "" : words.back(), value.emplace());
  };
  impl_->remember(
      name,
      impl_->app.add_option("--" + name, set, help)->expected(0, 1)->type_name("[true|false]"));
}
void Flags::texts(const std::string& name, std::vector<std::string>& values,
                  const std::string& help) {
  impl_->remember(name, impl_->app.add_option("--" + name, values, help)->expected(1, 1 << 20));
}
void Flags::positional(const std::string& name, std::vector<std::string>& values,
                       const std::string& help) {
  impl_->words = impl_->app.add_option(name, values, help);
}
void Flags::alias(const std::string& alias, const std::string& name) {
  impl_->aliases[alias] = name;
}
void Flags::require_flag(const std::string& name) { impl_->options.at(name)->required(); }
void Flags::allow_overrides(std::vector<std::pair<std::string, std::string>>& overrides) {
  impl_->overrides = &overrides;
}

// The flag meant by a name, a prefix of one or an alias; without dashes.
std::string Flags::Impl::resolve(const std::string& given) const {
  std::string name = underscored(given);
  if (std::find(names.begin(), names.end(), name) != names.end()) return name;
  if (const auto it = aliases.find(name); it != aliases.end()) return it->second;
  std::vector<std::string> matches;
  for (const std::string& n : names) {
    if (n.starts_with(name)) matches.push_back(n);
  }
  if (matches.size() == 1) return matches[0];
  if (matches.size() > 1) {
    throw UsageError(fmt::format("{}: --{} is ambiguous, it could be --{}", command, escaped(given),
                                 fmt::join(matches, ", --")));
  }
  const auto guess = nearest(name, names);
  throw UsageError(fmt::format("{}: unknown flag --{}{}", command, escaped(given),
                               guess ? "; try: --" + *guess : "; try: --help"));
}

std::vector<std::string> Flags::Impl::normalise(const std::vector<std::string>& arguments) const {
  std::vector<std::string> out;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& word = arguments[i];
    if (!word.starts_with("--") || word.size() == 2) {
      out.push_back(word);
      continue;
    }
    const size_t equals = word.find('=');
    const std::string name = word.substr(2, equals == std::string::npos ? equals : equals - 2);
    if (overrides != nullptr && name.find('.') != std::string::npos) {
      if (equals != std::string::npos) {
        overrides->emplace_back(name, word.substr(equals + 1));
      } else {
        require(i + 1 < arguments.size() && !arguments[i + 1].starts_with("--"),
                "{}: override --{} has no value", command, escaped(name));
        overrides->emplace_back(name, arguments[++i]);
      }
      continue;
    }
    const std::string full = resolve(name);
    if (full == "help") return {"--help"};
    out.push_back("--" + full + (equals == std::string::npos ? "" : word.substr(equals)));
  }
  return out;
}

bool Flags::parse(const std::vector<std::string>& arguments) {
  std::vector<std::string> words = impl_->normalise(arguments);
  std::reverse(words.begin(), words.end());  // CLI11 takes them last first
  try {
    impl_->app.parse(words);
  } catch (const CLI::CallForHelp&) {
    fmt::print("{}", impl_->app.help());
    return false;
  } catch (const CLI::ParseError& e) {
    throw UsageError(fmt::format("{}: {}; try: --help", impl_->command, escaped(e.what(), 200)));
  }
  return true;
}

}  // namespace cria
