#include "base/json.h"

#include <cstddef>
#include <iterator>
#include <nlohmann/json.hpp>
#include <unordered_set>
#include <vector>

#include "base/error.h"
#include "base/text.h"

namespace cria {
namespace {

constexpr size_t kMaxDepth = 64;

// Walks over the text and tells how far nlohmann's parser has read, which its callbacks do not.
struct Cursor {
  using iterator_category = std::forward_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;
  const char* at;
  const char** read;
  reference operator*() const { return *at; }
  Cursor& operator++() {
    *read = ++at;
    return *this;
  }
  bool operator==(const Cursor& o) const { return at == o.at; }
  bool operator!=(const Cursor& o) const { return at != o.at; }
};

// Builds the value while refusing what nlohmann lets pass: deep nesting and duplicate keys.
class Builder : public nlohmann::json_sax<Json> {
 public:
  Builder(std::string_view text, std::string_view what, std::string_view path, int64_t base)
      : text_(text), read_(text.data()), what_(what), path_(path), base_(base) {}
  Cursor begin() { return {text_.data(), &read_}; }
  Cursor end() { return {text_.data() + text_.size(), &read_}; }

  bool null() override { return put(nullptr); }
  bool boolean(bool v) override { return put(v); }
  bool number_integer(number_integer_t v) override { return put(v); }
  bool number_unsigned(number_unsigned_t v) override { return put(v); }
  bool number_float(number_float_t v, const string_t& text) override {
    // An integer beyond 64 bits arrives here as a float: it would be wrong without a word.
    if (text.find_first_of(".eE") == std::string::npos)
      fail(number_start(text.size()), fmt::format("integer {} is out of range", escaped(text)));
    return put(v);
  }
  bool string(string_t& v) override { return put(std::move(v)); }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& v) override {
    if (!keys_.back().insert(v).second)
      fail(string_start(), fmt::format("key \"{}\" appears twice", escaped(v)));
    key_ = v;
    return true;
  }
  bool parse_error(std::size_t position, const std::string& /*token*/,
                   const nlohmann::detail::exception& e) override {
    std::string reason = e.what();
    if (const size_t cut = reason.rfind(": "); cut != std::string::npos)
      reason = reason.substr(cut + 2);
    fail(static_cast<int64_t>(position > 0 ? position - 1 : 0),
         "not valid JSON, " + escaped(reason, 120));
  }
  Json take() { return std::move(root_); }

 private:
  [[noreturn]] void fail(int64_t offset, std::string reason) const {
    throw FormatError(describe(
        {.what = what_, .path = path_, .offset = base_ + offset, .reason = std::move(reason)}));
  }
  [[nodiscard]] int64_t consumed() const { return read_ - text_.data(); }
  // The opening quote of the string whose closing quote was read last: quotes inside are escaped.
  [[nodiscard]] int64_t string_start() const {
    int64_t quote = consumed() - 2;
    const auto at = [&](int64_t i) { return text_[static_cast<size_t>(i)]; };
    for (; quote > 0; --quote) {
      if (at(quote) != '"') continue;
      int64_t slash = quote;
      while (slash > 0 && at(slash - 1) == '\\') --slash;
      if ((quote - slash) % 2 == 0) break;
    }
    return quote;
  }
  // A number ends where the parser has read one byte more, or at the end of the text.
  [[nodiscard]] int64_t number_start(size_t length) const {
    const bool one_more = text_[static_cast<size_t>(consumed() - 1)] < '0' ||
                          text_[static_cast<size_t>(consumed() - 1)] > '9';
    return consumed() - (one_more ? 1 : 0) - static_cast<int64_t>(length);
  }
  Json* place(Json&& v) {
    if (stack_.empty()) {
      root_ = std::move(v);
      return &root_;
    }
    Json& top = *stack_.back();
    if (top.is_array()) {
      top.push_back(std::move(v));
      return &top.back();
    }
    return &top.get_ref<Json::object_t&>().emplace_back(std::move(key_), std::move(v)).second;
  }
  template <class V>
  bool put(V&& v) {
    place(Json(std::forward<V>(v)));
    return true;
  }
  bool open(Json&& v) {
    if (stack_.size() >= kMaxDepth)
      fail(consumed() - 1, fmt::format("nested deeper than {}", kMaxDepth));
    stack_.push_back(place(std::move(v)));
    keys_.emplace_back();
    return true;
  }
  bool close() {
    stack_.pop_back();
    keys_.pop_back();
    return true;
  }

  std::string_view text_;
  const char* read_;
  std::string_view what_, path_;
  int64_t base_;
  Json root_;
  std::vector<Json*> stack_;
  std::vector<std::unordered_set<std::string>> keys_;
  std::string key_;
};

}  // namespace

Json parse_json(std::string_view text, std::string_view what, std::string_view path,
                int64_t base_offset) {
  if (const auto bad = find_invalid_utf8(text)) {
    throw FormatError(describe({.what = what,
                                .path = path,
                                .offset = base_offset + static_cast<int64_t>(*bad),
                                .reason = "not valid UTF-8",
                                .found = escaped(text.substr(*bad, 4))}));
  }
  // nlohmann's parser takes a NUL for the end of the text.
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos) {
    throw FormatError(describe({.what = what,
                                .path = path,
                                .offset = base_offset + static_cast<int64_t>(nul),
                                .reason = "not valid JSON, a NUL byte"}));
  }
  Builder builder(text, what, path, base_offset);
  Json::sax_parse(builder.begin(), builder.end(), &builder);
  return builder.take();
}

}  // namespace cria
