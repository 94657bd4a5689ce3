#include "tokenizer/chat.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "tokenizer/unicode.h"
#include "tokenizer/vocabulary.h"

namespace cria {
namespace {

constexpr std::string_view kSmolLm2System =
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face";
// The part of SmolLM2's template that sets it apart; the rest is plain ChatML.
constexpr std::string_view kSmolLm2Mark =
    "{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n"
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif "
    "%}";
// How published templates write a message.
constexpr std::string_view kChatMlLoop =
    "'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'";
constexpr std::string_view kLlama3Loop =
    "'<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim "
    "+ '<|eot_id|>'";

// Published files write the line breaks inside a template's strings as such or as \n.
std::string with_line_breaks(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 1 < text.size() && text[i + 1] == 'n') {
      out += '\n';
      ++i;
    } else {
      out += text[i];
    }
  }
  return out;
}

bool is_known_template(const std::string& text) {
  return text.find(kLlama3Loop) != std::string::npos || text.find(kChatMlLoop) != std::string::npos;
}

// Python's str.strip(), which templates and Meta's code use: white space and U+001C..U+001F.
std::string_view strip(std::string_view text) {
  const auto blank = [](char32_t c) {
    return class_of(c) == CharClass::space || (c >= 0x1c && c <= 0x1f);
  };
  size_t begin = text.size(), end = 0;
  for (size_t pos = 0; pos < text.size();) {
    const size_t at = pos;
    if (blank(next_code_point(text, pos))) continue;
    begin = std::min(begin, at);
    end = pos;
  }
  return begin < end ? text.substr(begin, end - begin) : std::string_view();
}

class Writer {
 public:
  explicit Writer(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}
  void text(std::string_view text) { tokenizer_.encode(text, {}, ids_); }
  void special(std::string_view name) {
    const auto id = tokenizer_.find_special(name);
    require(id.has_value(), "chat: the vocabulary has no token {}", name);
    ids_.push_back(*id);
  }
  void bos() {
    if (const auto id = tokenizer_.vocabulary().bos) ids_.push_back(*id);
  }
  std::vector<TokenId> take() { return std::move(ids_); }

 private:
  const Tokenizer& tokenizer_;
  std::vector<TokenId> ids_;
};

void check_role(const std::string& role, ChatLayout layout) {
  std::vector<std::string> roles = {"system", "user", "assistant"};
  if (layout == ChatLayout::llama3) roles.insert(roles.end(), {"ipython", "tool"});
  if (std::ranges::find(roles, role) != roles.end()) return;
  const auto near = nearest(role, roles);
  throw UsageError(describe({.what = "chat",
                             .reason = "unknown role",
                             .expected = fmt::format("{}", fmt::join(roles, ", ")),
                             .found = escaped(role),
                             .hint = near ? *near : ""}));
}

void llama3_header(Writer& out, std::string_view role) {
  out.special("<|start_header_id|>");
  out.text(role);
  out.special("<|end_header_id|>");
}

// Between two special tokens everything is encoded as one text, as the rendered template would be.
void write_llama3(Writer& out, const ChatMessage& message) {
  llama3_header(out, message.role);
  out.text("\n\n" + std::string(strip(message.content)));
  out.special("<|eot_id|>");
}

void write_chatml(Writer& out, const ChatMessage& message) {
  out.special("<|im_start|>");
  out.text(message.role + "\n" + message.content);
  out.special("<|im_end|>");
}

std::vector<TokenId> encode_llama3(Writer out, std::span<const ChatMessage> messages, bool prompt) {
  out.bos();
  for (const ChatMessage& message : messages) write_llama3(out, message);
  if (prompt) {
    llama3_header(out, "assistant");
    out.text("\n\n");
  }
  return out.take();
}

std::vector<TokenId> encode_chatml(Writer out, std::span<const ChatMessage> messages, bool prompt) {
  for (const ChatMessage& message : messages) {
    write_chatml(out, message);
    out.text("\n");
  }
  if (prompt) {
    out.special("<|im_start|>");
    out.text("assistant\n");
  }
  return out.take();
}

}  // namespace

ChatFormat detect_chat_format(const Vocabulary& v) {
  const auto has = [&](std::string_view name) { return special_id(v, name).has_value(); };
  ChatFormat format;
  if (has("<|start_header_id|>") && has("<|end_header_id|>") && has("<|eot_id|>")) {
    format.layout = ChatLayout::llama3;
  } else if (has("<|im_start|>") && has("<|im_end|>")) {
    format.layout = ChatLayout::chatml;
  }
  const std::string text = with_line_breaks(v.chat_template);
  if (format.layout == ChatLayout::chatml && text.find(kSmolLm2Mark) != std::string::npos)
    format.default_system = kSmolLm2System;
  if (!text.empty() && !is_known_template(text))
    warn(fmt::format("chat template of {}: not one of the known ones, {} is used instead", v.source,
                     format.layout == ChatLayout::llama3   ? "Llama 3's layout"
                     : format.layout == ChatLayout::chatml ? "ChatML"
                                                           : "none"));
  return format;
}

std::vector<TokenId> encode_chat(const Tokenizer& tokenizer, const ChatFormat& format,
                                 std::span<const ChatMessage> messages,
                                 bool add_generation_prompt) {
  require(format.layout != ChatLayout::none,
          "chat: the vocabulary has no chat tokens we know (Llama 3's or ChatML's); try: a plain "
          "prompt");
  for (const ChatMessage& message : messages) check_role(message.role, format.layout);
  std::vector<ChatMessage> all(messages.begin(), messages.end());
  if (!format.default_system.empty() && !all.empty() && all.front().role != "system")
    all.insert(all.begin(), {"system", format.default_system});
  const Writer writer(tokenizer);
  return format.layout == ChatLayout::llama3 ? encode_llama3(writer, all, add_generation_prompt)
                                             : encode_chatml(writer, all, add_generation_prompt);
}

std::vector<TokenId> encode_chat(const Tokenizer& tokenizer, std::span<const ChatMessage> messages,
                                 bool add_generation_prompt) {
  return encode_chat(tokenizer, detect_chat_format(tokenizer.vocabulary()), messages,
                     add_generation_prompt);
}

}  // namespace cria
