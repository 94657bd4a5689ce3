// yaml-cpp reports events; the tree is built here, so that every limit is checked before memory is spent.
#include "recipe/yaml.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <map>
#include <set>
#include <sstream>

#include "base/error.h"
#include "base/text.h"

namespace cria::recipe {
namespace {

[[noreturn]] void bad_yaml(std::string_view path, const YAML::Mark& mark, std::string reason,
                           std::string hint = {}) {
  throw FormatError(describe({.what = "yaml",
                              .path = path,
                              .line = mark.line + 1,
                              .column = mark.column + 1,
                              .reason = std::move(reason),
                              .hint = std::move(hint)}));
}

class TreeBuilder : public YAML::EventHandler {
 public:
  explicit TreeBuilder(std::string_view path) : path_(path) {}
  YamlNode root;

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { add({}, mark, anchor); }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override;
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override;
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, YamlNode::Kind::list, "tag:yaml.org,2002:seq");
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, YamlNode::Kind::map, "tag:yaml.org,2002:map");
  }
  void OnMapEnd() override { close(); }

 private:
  // A list or map whose end has not been seen.
  struct Open {
    YamlNode node;
    YAML::anchor_t anchor;
    YAML::Mark mark;
    std::set<std::string, std::less<>> keys;
    bool has_key = false;
    std::string key;
    YAML::Mark key_mark;
    std::vector<YamlNode> merges;  // values of `<<`, each a map
  };

  void open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
            YamlNode::Kind kind, std::string_view core_tag);
  void close();
  void add(YamlNode node, const YAML::Mark& mark, YAML::anchor_t anchor);
  void add_key(const YamlNode& node, const YAML::Mark& mark);
  void add_merge(Open& map, YamlNode value);
  void count(int64_t nodes, const YAML::Mark& mark);

  std::string_view path_;
  std::vector<Open> open_;
  std::map<YAML::anchor_t, YamlNode> anchors_;
  int64_t nodes_ = 0;
};

void TreeBuilder::count(int64_t nodes, const YAML::Mark& mark) {
  nodes_ += nodes;
  if (nodes_ > YamlLimits::nodes)
    bad_yaml(path_, mark,
             fmt::format("more than {} values once aliases are expanded", YamlLimits::nodes));
}

void TreeBuilder::open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YamlNode::Kind kind, std::string_view core_tag) {
  if (!(tag.empty() || tag == "?" || tag == "!" || tag == core_tag))
    bad_yaml(path_, mark, fmt::format("tag \"{}\" is not allowed", escaped(tag)));
  if (std::ssize(open_) >= YamlLimits::depth)
    bad_yaml(path_, mark, fmt::format("nested deeper than {}", YamlLimits::depth));
  if (!open_.empty() && open_.back().node.is_map() && !open_.back().has_key)
    bad_yaml(path_, mark, "a key must be a single value");
  count(1, mark);
  Open& o = open_.emplace_back();
  o.node.kind = kind;
  o.anchor = anchor;
  o.mark = mark;
}

void TreeBuilder::close() {
  Open o = std::move(open_.back());
  open_.pop_back();
  // The map's own keys win over merged ones, and earlier merged maps over later ones.
  for (YamlNode& m : o.merges) {
    for (auto& entry : m.entries) {
      if (o.keys.insert(entry.key).second) o.node.entries.push_back(std::move(entry));
    }
  }
  for (const YamlNode& n : o.node.items) {
    o.node.nodes += n.nodes;
    o.node.height = std::max(o.node.height, n.height + 1);
  }
  for (const auto& [key, n] : o.node.entries) {
    o.node.nodes += n.nodes;
    o.node.height = std::max(o.node.height, n.height + 1);
  }
  add(std::move(o.node), o.mark, o.anchor);
}

void TreeBuilder::add_key(const YamlNode& node, const YAML::Mark& mark) {
  Open& map = open_.back();
  const bool scalar = node.kind != YamlNode::Kind::list && node.kind != YamlNode::Kind::map;
  if (!scalar) bad_yaml(path_, mark, "a key must be a single value");
  map.has_key = true;
  map.key = node.text;
  map.key_mark = mark;
  if (node.text != "<<" && !map.keys.insert(node.text).second)
    bad_yaml(path_, mark, fmt::format("key \"{}\" is given twice", escaped(node.text)));
}

void TreeBuilder::add_merge(Open& map, YamlNode value) {
  const bool fits = value.is_map() || (value.kind == YamlNode::Kind::list &&
                                       std::ranges::all_of(value.items, &YamlNode::is_map));
  if (!fits) bad_yaml(path_, map.key_mark, "<< needs a map or a list of maps");
  if (value.is_map()) return map.merges.push_back(std::move(value));
  for (YamlNode& item : value.items) map.merges.push_back(std::move(item));
}

void TreeBuilder::add(YamlNode node, const YAML::Mark& mark, YAML::anchor_t anchor) {
  if (node.line == 0) {
    node.line = mark.line + 1;
    node.column = mark.column + 1;
  }
  if (anchor != 0) {
    count(node.nodes, mark);  // the copy kept for aliases is memory too
    anchors_[anchor] = node;
  }
  if (open_.empty()) {
    root = std::move(node);
    return;
  }
  Open& parent = open_.back();
  if (!parent.node.is_map()) return parent.node.items.push_back(std::move(node));
  if (!parent.has_key) return add_key(node, mark);
  parent.has_key = false;
  if (parent.key == "<<") return add_merge(parent, std::move(node));
  parent.node.entries.push_back({std::move(parent.key), std::move(node)});
}

void TreeBuilder::OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) {
  const auto it = anchors_.find(anchor);
  // An anchor is known once its value is complete.
  if (it == anchors_.end()) bad_yaml(path_, mark, "an alias inside its own anchor: a cycle");
  count(it->second.nodes, mark);
  if (std::ssize(open_) + it->second.height > YamlLimits::depth + 1)
    bad_yaml(path_, mark, fmt::format("nested deeper than {}", YamlLimits::depth));
  add(it->second, mark, 0);
}

void TreeBuilder::OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                           const std::string& value) {
  count(1, mark);
  constexpr std::string_view core = "tag:yaml.org,2002:";
  YamlNode node;
  if (tag.empty() || tag == "?") {
    node = plain_scalar(value);
  } else if (tag == "!" || tag == "tag:yaml.org,2002:str") {
    node.kind = YamlNode::Kind::text;
    node.text = value;
  } else if (tag.starts_with(core)) {
    node = plain_scalar(value);
    const std::string_view want = std::string_view(tag).substr(core.size());
    using enum YamlNode::Kind;
    if (want == "float" && node.kind == integer) node.kind = number;
    const bool fits =
        (want == "int" && node.kind == integer) || (want == "float" && node.kind == number) ||
        (want == "bool" && node.kind == boolean) || (want == "null" && node.kind == null);
    if (!fits)
      bad_yaml(path_, mark,
               fmt::format("tag !!{} does not fit \"{}\"", escaped(want), escaped(value)));
  } else {
    bad_yaml(path_, mark, fmt::format("tag \"{}\" is not allowed", escaped(tag)));
  }
  add(std::move(node), mark, anchor);
}

class OnlyEnd : public YAML::EventHandler {
 public:
  explicit OnlyEnd(std::string_view path) : path_(path) {}
  void OnDocumentStart(const YAML::Mark& mark) override { refuse(mark); }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t,
                const std::string&) override {}
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {}
  void OnMapEnd() override {}

 private:
  [[noreturn]] void refuse(const YAML::Mark& mark) const {
    bad_yaml(path_, mark, "a second document; a configuration is one document");
  }
  std::string_view path_;
};

}  // namespace

YamlNode parse_yaml(std::string_view text, std::string_view path) {
  const auto fail = [&](int64_t offset, std::string reason) {
    throw FormatError(
        describe({.what = "yaml", .path = path, .offset = offset, .reason = std::move(reason)}));
  };
  if (text.size() > YamlLimits::bytes)
    fail(-1, fmt::format("{} bytes, expected at most {}", text.size(), YamlLimits::bytes));
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  if (const auto at = find_invalid_utf8(text)) fail(static_cast<int64_t>(*at), "not valid UTF-8");
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos)
    fail(static_cast<int64_t>(nul), "a NUL byte");

  TreeBuilder builder(path);
  std::istringstream stream{std::string(text)};
  try {
    YAML::Parser parser(stream);
    if (parser.HandleNextDocument(builder)) {
      OnlyEnd end(path);
      parser.HandleNextDocument(end);
    }
  } catch (const YAML::Exception& e) {
    bad_yaml(path, e.mark.is_null() ? YAML::Mark() : e.mark, escaped(e.msg, 120));
  }
  if (builder.root.is_null()) builder.root.kind = YamlNode::Kind::map;
  return std::move(builder.root);
}

}  // namespace cria::recipe
