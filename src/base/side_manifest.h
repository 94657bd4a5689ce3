// Sums of files whose format has none: `<name>.sum.json` beside an export or a data set, written
// when the file is, compared when the file is opened. A file without one is taken as it is.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/file_sums.h"

namespace cria {

constexpr std::string_view kSumsSuffix = ".sum.json";

/// Files of one output by their names in its folder: one file of an export, all files of a data set.
using SideManifest = std::map<std::string, FileSums>;

std::string side_manifest_text(const SideManifest& files);
/// Throws FormatError.
SideManifest parse_side_manifest(std::string_view text, const std::string& path);

/// Takes the sums of a finished file and writes them beside it. Throws IoError.
void write_side_manifest(const std::string& path);
/// Removes `<path>.sum.json` where there is one: before its file is replaced, for sums of an older
/// file must never stand beside a newer one. Throws IoError.
void remove_side_manifest(const std::string& path);

/// The manifest that speaks of a file: `<path>.sum.json`, or the one of the set that a numbered
/// file belongs to (`x.mindrecord.sum.json` for `x.mindrecord3`). Empty: there is none.
std::string find_side_manifest(const std::string& path);
/// Compares a file with the manifest that speaks of it, every byte. False: no manifest. Throws
/// FormatError naming the file when it differs, or when it bears a number of a set that does not
/// list it (an older, larger set was overwritten); IoError.
bool check_side_manifest(const std::string& path);
/// Compares every file that a manifest lists. Throws FormatError, also when one is missing.
void check_listed_files(const std::string& manifest_path);
/// The same for one of them, `path`, which must be listed.
void check_listed_file(const std::string& manifest_path, const std::string& path);

}  // namespace cria
