// All files of a data set, given their names together.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/side_manifest.h"

namespace cria {

class ThreadPool;

class MindRecordSet {
 public:
  using BeforeChange = std::function<void(const std::string& name)>;
  /// `path` is the name the set was asked for, without shard numbers.
  MindRecordSet(std::string path, const BeforeChange* before_change);
  /// A shard and its index, finished; both outlive this object.
  void add(AtomicFile& shard, AtomicFile& index);
  /// A small file that describes the set.
  void add_text(const std::string& path, std::string_view text);
  /// In the order that MindRecordWriter::commit() explains.
  void commit();

 private:
  void sync_all();
  void about_to_change(const std::string& name) const;
  void publish(AtomicFile& file);

  std::string path_;
  const BeforeChange* before_change_;
  std::vector<AtomicFile*> shards_, indexes_;
  std::vector<std::unique_ptr<AtomicFile>> texts_;
  std::unique_ptr<AtomicFile> sums_;
};

}  // namespace cria
