// One record made readable: which token stands where, and which are trained.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "formats/mindrecord.h"
#include "tokenizer/tokenizer.h"

namespace cria {

struct DescribedToken {
  TokenId id = 0;
  std::string bytes;     // raw: a character may span several tokens; empty for an unknown id
  bool special = false;  // a special token
  bool trained = false;  // has a label; in records without labels every token but the first
};

struct DescribedRow {
  std::vector<DescribedToken> tokens;  // without the padding behind
  int64_t padding = 0;                 // positions of padding behind
};

/// `pad` is the padding id, by default the vocabulary's. Throws UsageError when there is no such row
/// or no int32 array `input_ids`, FormatError when labels and ids differ in number.
DescribedRow describe_row(const MindRecordReader& reader, int64_t row, const Tokenizer& tokenizer,
                          std::optional<TokenId> pad = {});

}  // namespace cria
