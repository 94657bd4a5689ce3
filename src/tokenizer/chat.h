// Conversations as token ids. The layouts are built here, in code: a template found in a model file
// is only compared with those we know, never run. Text of messages can never become a special token.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace cria {

struct ChatMessage {
  std::string role;  // system, user, assistant; Llama 3 also ipython and tool
  std::string content;
};

enum class ChatLayout {
  none,    // the vocabulary has no chat tokens we know
  llama3,  // <|start_header_id|>role<|end_header_id|>\n\ncontent<|eot_id|>, content stripped
  chatml,  // <|im_start|>role\ncontent<|im_end|>\n
};

struct ChatFormat {
  ChatLayout layout = ChatLayout::none;
  /// Put in front when the first message is not the system's; empty: nothing.
  std::string default_system;
};

/// By the chat template where it is a known one, else by the special tokens that exist; an unknown
/// template is then named in a warning.
ChatFormat detect_chat_format(const Vocabulary& vocabulary);

/// The ids of a conversation. Llama 3 begins with bos. With `add_generation_prompt` the header of an
/// assistant's message follows, whose text the model is to write.
/// Throws UsageError for an unknown role, and when the vocabulary has no chat format.
/// Sources: Meta's llama3/tokenizer.py, `ChatFormat`; the template in SmolLM2-Instruct.
std::vector<TokenId> encode_chat(const Tokenizer& tokenizer, std::span<const ChatMessage> messages,
                                 bool add_generation_prompt);
std::vector<TokenId> encode_chat(const Tokenizer& tokenizer, const ChatFormat& format,
                                 std::span<const ChatMessage> messages, bool add_generation_prompt);

}  // namespace cria
