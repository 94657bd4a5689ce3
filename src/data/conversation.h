// Conversations: who said what, in turns. The recipe's training data is made from these.
#pragma once

#include <string>
#include <vector>

#include "data/json_records.h"

namespace cria {

struct Turn {
  std::string from;  // "human" or "gpt"
  std::string value;
};

/// Turns alternate, beginning with human; there may be none, and the last may be the human's.
struct Conversation {
  std::string id;  // empty when the record has none
  std::vector<Turn> turns;
};

/// Reads one record: {"id", "conversations": [{"from", "value"}, ...]}, other keys ignored. A first
/// turn that is not the human's is dropped, as the recipe does; from there on turns must alternate.
/// An Alpaca record (`instruction`, `output`) is taken as the two turns that convert_alpaca makes of
/// it. Throws FormatError naming the record and the turn. Thread-safe.
Conversation parse_conversation(const JsonRecords& records, const JsonRecord& record);

/// Reads a file of conversations from front to back (a JSON array or JSON lines).
class ConversationReader {
 public:
  explicit ConversationReader(const std::string& path) : records_(path) {}
  /// False after the last record.
  bool next(Conversation& conversation);

 private:
  JsonRecords records_;
};

}  // namespace cria
