#include "formats/mindrecord_set.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/thread_pool.h"

namespace cria {

MindRecordSet::MindRecordSet(std::string path, const BeforeChange* before_change)
    : path_(std::move(path)), before_change_(before_change) {}

void MindRecordSet::add(AtomicFile& shard, AtomicFile& index) {
  shards_.push_back(&shard);
  indexes_.push_back(&index);
}

void MindRecordSet::add_text(const std::string& path, std::string_view text) {
  texts_.push_back(std::make_unique<AtomicFile>(path));
  texts_.back()->write(text);
}

void MindRecordSet::sync_all() {
  ThreadPool pool;
  SideManifest manifest;
  const auto take = [&](AtomicFile& file) {
    file.sync();
    const MappedFile written(file.temporary_path());
    manifest[base_name(file.path())] = sums_of(written.bytes(), pool);
  };
  for (AtomicFile* shard : shards_) take(*shard);
  for (AtomicFile* index : indexes_) take(*index);
  for (const auto& text : texts_) take(*text);
  sums_ = std::make_unique<AtomicFile>(path_ + std::string(kSumsSuffix));
  sums_->write(side_manifest_text(manifest));
  sums_->sync();
}

void MindRecordSet::about_to_change(const std::string& name) const {
  if (before_change_ != nullptr) (*before_change_)(name);
}

void MindRecordSet::publish(AtomicFile& file) {
  about_to_change(file.path());
  file.publish();
}

void MindRecordSet::commit() {
  sync_all();
  const std::string folder = parent_folder(path_);
  // MindSpore opens no set that lacks an index, so from here on it takes neither old nor mixed ones.
  for (const AtomicFile* index : indexes_) {
    about_to_change(index->path());
    if (unlink(index->path().c_str()) != 0 && errno != ENOENT) {
      throw IoError(
          describe({.what = "remove", .path = index->path(), .reason = std::strerror(errno)}));
    }
  }
  sync_folder(folder);
  // And with the sums in place, neither do we.
  publish(*sums_);
  sync_folder(folder);
  for (const auto& text : texts_) publish(*text);
  for (AtomicFile* shard : shards_) publish(*shard);
  sync_folder(folder);
  for (AtomicFile* index : indexes_) publish(*index);
  sync_folder(folder);
}

}  // namespace cria
