#include "formats/sqlite.h"

#include <sqlite3.h>

#include "base/error.h"
#include "base/file.h"

namespace cria {

void SqliteDatabase::Close::operator()(sqlite3* db) const { sqlite3_close(db); }
void SqliteStatement::Finalize::operator()(sqlite3_stmt* s) const { sqlite3_finalize(s); }

SqliteDatabase::SqliteDatabase(std::string path, Mode mode) : path_(std::move(path)), mode_(mode) {
  if (!is_file(path_))
    throw IoError(describe({.what = "index", .path = path_, .reason = "no such regular file"}));
  sqlite3* db = nullptr;
  const int flags =
      (mode == Mode::read ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE) | SQLITE_OPEN_NOMUTEX;
  const int result = sqlite3_open_v2(path_.c_str(), &db, flags, nullptr);
  db_.reset(db);
  if (result != SQLITE_OK)
    throw IoError(describe({.what = "index", .path = path_, .reason = sqlite3_errstr(result)}));
  if (mode == Mode::fill) {
    run("PRAGMA page_size=4096; PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; BEGIN");
    return;
  }
  sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, nullptr);
  sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_VIEW, 0, nullptr);
  run("PRAGMA mmap_size=0; PRAGMA cell_size_check=ON");
  SqliteStatement quick_check(*this, "PRAGMA quick_check(1)");
  if (!quick_check.step() || quick_check.text(0) != "ok")
    fail("the database is damaged: " + escaped(quick_check.text(0), 100));
}

void SqliteDatabase::run(const std::string& sql) {
  if (sqlite3_exec(db_.get(), sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK)
    fail(sqlite3_errmsg(db_.get()));
}

void SqliteDatabase::fail(const std::string& reason) const {
  const std::string message = describe({.what = "index", .path = path_, .reason = reason});
  if (mode_ == Mode::fill) throw IoError(message);
  throw FormatError(message);
}

SqliteStatement::SqliteStatement(const SqliteDatabase& database, const std::string& sql)
    : database_(database) {
  sqlite3_stmt* statement = nullptr;
  const int result = sqlite3_prepare_v2(database.db_.get(), sql.c_str(), -1, &statement, nullptr);
  statement_.reset(statement);
  require_ok(result);
}

void SqliteStatement::require_ok(int result) const {
  if (result != SQLITE_OK) database_.fail(sqlite3_errmsg(database_.db_.get()));
}

void SqliteStatement::bind(int parameter, int64_t value) {
  require_ok(sqlite3_bind_int64(statement_.get(), parameter + 1, value));
}
void SqliteStatement::bind(int parameter, double value) {
  require_ok(sqlite3_bind_double(statement_.get(), parameter + 1, value));
}
void SqliteStatement::bind(int parameter, std::string_view text) {
  require_ok(sqlite3_bind_text64(statement_.get(), parameter + 1, text.data(), text.size(),
                                 SQLITE_STATIC, SQLITE_UTF8));
}

bool SqliteStatement::step() {
  const int result = sqlite3_step(statement_.get());
  if (result == SQLITE_ROW) return true;
  if (result != SQLITE_DONE) require_ok(result);
  sqlite3_reset(statement_.get());
  return false;
}

bool SqliteStatement::is_integer(int column) const {
  return sqlite3_column_type(statement_.get(), column) == SQLITE_INTEGER;
}
int64_t SqliteStatement::integer(int column) const {
  return sqlite3_column_int64(statement_.get(), column);
}
double SqliteStatement::real(int column) const {
  return sqlite3_column_double(statement_.get(), column);
}
std::string_view SqliteStatement::text(int column) const {
  const auto* text = sqlite3_column_text(statement_.get(), column);
  const auto size = static_cast<size_t>(sqlite3_column_bytes(statement_.get(), column));
  return text == nullptr ? std::string_view()
                         : std::string_view(reinterpret_cast<const char*>(text), size);
}

}  // namespace cria
