#include "tokenizer/vocabulary.h"

#include <algorithm>
#include <unordered_set>

#include "base/error.h"
#include "base/sha256.h"
#include "tokenizer/piece_table.h"
#include "tokenizer/vocabulary_files.h"

namespace cria {
namespace {

constexpr size_t kMaxIds = 1 << 24;
constexpr size_t kMaxPiece = 1024;

void check_id(const Vocabulary& v, std::optional<TokenId> id, const char* name) {
  if (id && (*id < 0 || static_cast<size_t>(*id) >= v.pieces.size()))
    bad_vocabulary(
        v, fmt::format("{} id {} is outside the vocabulary of {}", name, *id, v.pieces.size()));
}

void check_pieces(const Vocabulary& v) {
  if (v.pieces.empty() || v.pieces.size() > kMaxIds || v.special.size() != v.pieces.size())
    bad_vocabulary(v, fmt::format("{} pieces and {} special marks, expected 1 to {} of each",
                                  v.pieces.size(), v.special.size(), kMaxIds));
  std::unordered_set<std::string_view> specials;
  for (size_t id = 0; id < v.pieces.size(); ++id) {
    const std::string& piece = v.pieces[id];
    if (piece.empty() || piece.size() > kMaxPiece)
      bad_vocabulary(
          v, fmt::format("token {} has {} bytes, expected 1 to {}", id, piece.size(), kMaxPiece));
    if (v.special[id] && !specials.insert(piece).second)
      bad_vocabulary(v,
                     fmt::format("special token \"{}\" (id {}) appears twice", escaped(piece), id));
  }
}

// Finds what each merge makes. Merges that make the same token are chained, latest first: a pair can
// only come again within its chain, which is shorter than the token is long.
void resolve_merges(Vocabulary& v, const PieceTable& table) {
  constexpr size_t kNone = SIZE_MAX;
  std::vector<size_t> latest(v.pieces.size(), kNone), before(v.merges.size(), kNone);
  v.merged.clear();
  std::string piece;
  for (size_t rank = 0; rank < v.merges.size(); ++rank) {
    const auto [left, right] = v.merges[rank];
    check_id(v, left, "merge");
    check_id(v, right, "merge");
    piece.assign(v.pieces[static_cast<size_t>(left)]);
    piece += v.pieces[static_cast<size_t>(right)];
    const TokenId id = table.find(piece);
    if (id < 0)
      bad_vocabulary(v,
                     fmt::format("merge {} makes \"{}\", which is no token", rank, escaped(piece)));
    size_t& chain = latest[static_cast<size_t>(id)];
    for (size_t other = chain; other != kNone; other = before[other])
      if (v.merges[other] == v.merges[rank])
        bad_vocabulary(v, fmt::format("merge {} appears before, as merge {}", rank, other));
    before[rank] = chain;
    chain = rank;
    v.merged.push_back(id);
  }
}

// Everything but what check_pieces looks at.
void check_tables(Vocabulary& v, const PieceTable& table) {
  for (const auto& [id, name] : {std::pair(v.bos, "bos"), std::pair(v.eos, "eos"),
                                 std::pair(v.pad, "pad"), std::pair(v.unknown, "unknown")})
    check_id(v, id, name);
  for (const TokenId id : v.end_of_turn) check_id(v, id, "end-of-turn");
  for (size_t id = 0; id < v.pieces.size(); ++id) {
    const TokenId first = table.find(v.pieces[id]);
    if (first != (v.special[id] ? -1 : static_cast<TokenId>(id)))
      bad_vocabulary(v, fmt::format("tokens {} and {} are the same, \"{}\"", first, id,
                                    escaped(v.pieces[id])));
  }
  for (int byte = 0; v.rank_is_id && byte < 256; ++byte)
    if (const char c = static_cast<char>(byte); table.find({&c, 1}) < 0)
      bad_vocabulary(v, fmt::format("no token for the single byte 0x{:02x}", byte));
  resolve_merges(v, table);
}

// Bytes for the hash, gathered first: one call for all is much faster than one for each.
class Canonical {
 public:
  void number(uint64_t n) { bytes_.append(reinterpret_cast<const char*>(&n), sizeof n); }
  void text(std::string_view t) {
    number(t.size());
    bytes_ += t;
  }
  [[nodiscard]] std::string hash() const {
    return sha256_hex(std::as_bytes(std::span(bytes_.data(), bytes_.size())));
  }

 private:
  std::string bytes_;
};

}  // namespace

void bad_vocabulary(const Vocabulary& vocabulary, std::string reason) {
  throw FormatError(describe(
      {.what = "read vocabulary", .path = vocabulary.source, .reason = std::move(reason)}));
}

void check_vocabulary(Vocabulary& v) {
  check_pieces(v);
  check_tables(v, PieceTable(v));
}

std::string fingerprint_of(const Vocabulary& v) {
  Canonical out;
  out.number(static_cast<uint64_t>(v.pre_tokenizer));
  out.number((v.rank_is_id ? 1U : 0U) | (v.ignore_merges ? 2U : 0U));
  out.number(static_cast<uint64_t>(v.unknown.value_or(-1)));
  out.number(v.pieces.size());
  for (size_t id = 0; id < v.pieces.size(); ++id) {
    out.number(v.special[id] ? 1 : 0);
    out.text(v.pieces[id]);
  }
  out.number(v.merges.size());
  for (const auto& [left, right] : v.merges)
    out.number(static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right));
  return out.hash();
}

std::vector<std::pair<TokenId, TokenId>> merges_of(const Vocabulary& v) {
  if (!v.rank_is_id) return v.merges;
  const PieceTable table(v);
  std::vector<std::pair<TokenId, TokenId>> merges;
  for (size_t id = 0; id < v.pieces.size(); ++id) {
    if (v.special[id]) continue;
    const std::string_view piece = v.pieces[id];
    const size_t first = merges.size();
    for (size_t cut = 1; cut < piece.size(); ++cut) {
      const TokenId left = table.find(piece.substr(0, cut));
      const TokenId right = left < 0 ? -1 : table.find(piece.substr(cut));
      if (right >= 0) merges.emplace_back(left, right);
    }
    std::sort(merges.begin() + static_cast<std::ptrdiff_t>(first), merges.end());
  }
  return merges;
}

std::optional<TokenId> special_id(const Vocabulary& v, std::string_view text) {
  for (size_t id = 0; id < v.pieces.size(); ++id)
    if (v.special[id] && v.pieces[id] == text) return static_cast<TokenId>(id);
  return std::nullopt;
}

void set_end_of_turn(Vocabulary& v, const std::vector<TokenId>& more) {
  std::vector<TokenId> ids = more;
  for (const char* text : {"<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<|end_of_text|>"})
    if (const auto id = special_id(v, text)) ids.push_back(*id);
  for (const TokenId id : ids)
    if (id != v.eos && std::ranges::find(v.end_of_turn, id) == v.end_of_turn.end())
      v.end_of_turn.push_back(id);
}

void finish_vocabulary(Vocabulary& v,
                       const std::vector<std::pair<std::string, std::string>>& merges) {
  check_pieces(v);
  const PieceTable table(v);
  const auto known = [&](const std::string& part, size_t rank) {
    const TokenId id = table.find(part);
    if (id < 0)
      bad_vocabulary(v,
                     fmt::format("merge {} names \"{}\", which is no token", rank, escaped(part)));
    return id;
  };
  for (const auto& [left, right] : merges) {
    const size_t rank = v.merges.size();
    v.merges.emplace_back(known(left, rank), known(right, rank));
  }
  check_tables(v, table);
  v.fingerprint = fingerprint_of(v);
}

}  // namespace cria
