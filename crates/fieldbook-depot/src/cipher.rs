//! Opens an SQLCipher database the way both stores of a device need it: raw key, 16 KiB pages, WAL,
//! every commit synced, nothing temporary on disk. The vault's store uses this door too.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use zeroize::Zeroizing;

use crate::DepotError;

/// Page size in bytes. 16 KiB instead of 4 stores entries of 1 to 2 KB at 1.1 instead of 1.5 times their size.
pub const PAGE_SIZE: u32 = 16_384;

/// How long a writer waits for another process's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Opens the encrypted database at `path`, or makes an empty one there, with a raw 256-bit key.
///
/// A new file belongs to its owner alone (mode 0600) and must not exist yet. The last connection that
/// closes moves everything into the file itself, so that no `-wal` remains after a clean close.
///
/// The key is wiped from this function's memory. SQLite parses it from a statement, whose short-lived
/// copy it frees without wiping: lock and `wipe` rely on the end of the process, not on this.
///
/// # Errors
/// [`DepotError::Missing`] or [`DepotError::AlreadyExists`]; [`DepotError::WrongKey`] when the first page
/// does not authenticate; [`DepotError::Damaged`] for an empty file; [`DepotError::NotEncrypting`]; the disk's.
pub fn open_database(path: &Path, key: &[u8; 32], create: bool) -> Result<Connection, DepotError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(create);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let found_len = options.open(path)?.metadata()?.len();
    if !create && found_len == 0 {
        return Err(DepotError::damaged("its file is empty"));
    }
    // Never SQLITE_OPEN_URI: a path is a path, whatever it begins with.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_EXRESCODE
        | OpenFlags::SQLITE_OPEN_PRIVATE_CACHE;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.set_prepared_statement_cache_capacity(64);
    apply_key(&db, key)?;
    // The first read decrypts page 1 and so proves the key.
    match db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0)) {
        Ok(_) => {}
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::NotADatabase) => {
            return Err(DepotError::WrongKey);
        }
        Err(error) => return Err(error.into()),
    }
    let mode: String = db.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(DepotError::damaged("it cannot be switched to write-ahead logging"));
    }
    db.execute_batch(
        "PRAGMA synchronous = FULL;
         PRAGMA secure_delete = ON;
         PRAGMA temp_store = MEMORY;
         PRAGMA mmap_size = 0;
         PRAGMA cache_size = -8000;
         PRAGMA journal_size_limit = 16777216;
         PRAGMA foreign_keys = ON;
         PRAGMA trusted_schema = OFF;
         PRAGMA cell_size_check = ON;",
    )?;
    Ok(db)
}

/// The order matters: the log is silenced before anything can be logged, the key comes before all that
/// depends on it, the compatibility level before the page size that it would reset.
fn apply_key(db: &Connection, key: &[u8; 32]) -> Result<(), DepotError> {
    let version: Result<String, _> = db.query_row("PRAGMA cipher_version", [], |row| row.get(0));
    if !version.is_ok_and(|version| version.starts_with("4.")) {
        return Err(DepotError::NotEncrypting);
    }
    db.execute_batch("PRAGMA cipher_log = off; PRAGMA cipher_log_level = NONE;")?;
    let mut statement = Zeroizing::new(String::with_capacity(96));
    statement.push_str("PRAGMA key = \"");
    statement.push_str(&key_literal(key));
    statement.push('"');
    db.execute_batch(&statement)?;
    db.execute_batch(&format!(
        "PRAGMA cipher_compatibility = 4;
         PRAGMA cipher_page_size = {PAGE_SIZE};
         PRAGMA cipher_memory_security = OFF;"
    ))?;
    Ok(())
}

/// A raw key the way SQLCipher takes it: `x'` and 64 hexadecimal digits and `'`.
fn key_literal(key: &[u8; 32]) -> Zeroizing<String> {
    let mut literal = Zeroizing::new(String::with_capacity(67));
    literal.push_str("x'");
    for byte in key {
        for digit in [byte >> 4, byte & 15] {
            literal.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
        }
    }
    literal.push('\'');
    literal
}

/// Writes everything that `db` holds, as it stands now, into a new database at `path` under another raw key:
/// the live rows and nothing that was ever deleted. The new file is durable when this returns, but for its
/// entry in the directory. `db` stays as it is; on failure the new file is worth nothing.
///
/// # Errors
/// [`DepotError::AlreadyExists`]; the disk's.
pub fn copy_database(db: &Connection, path: &Path, key: &[u8; 32]) -> Result<(), DepotError> {
    let file = new_private_file(path)?;
    let attached = attach_copy(db, path, key);
    let copied = (|| -> Result<(), DepotError> {
        attached?;
        db.query_row("SELECT sqlcipher_export('copy')", [], |_| Ok(()))?;
        let version: i64 = db.query_row("PRAGMA main.user_version", [], |row| row.get(0))?;
        Ok(db.execute_batch(&format!("PRAGMA copy.user_version = {version}"))?)
    })();
    let detached = db.execute_batch("DETACH DATABASE copy");
    copied?;
    detached?;
    Ok(file.sync_all()?)
}

/// An empty file that is its owner's alone, where none may be.
pub(crate) fn new_private_file(path: &Path) -> Result<File, DepotError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    Ok(options.open(path)?)
}

/// Attaches the empty file at `path` as the database `copy`, to be filled without a journal: whoever is
/// interrupted begins anew.
pub(crate) fn attach_copy(db: &Connection, path: &Path, key: &[u8; 32]) -> Result<(), DepotError> {
    // A path is bytes, which need not be UTF-8.
    let name = path.as_os_str().as_encoded_bytes();
    db.prepare("ATTACH DATABASE CAST(?1 AS TEXT) AS copy KEY ?2")?
        .execute((name, key_literal(key).as_str()))?;
    db.execute_batch(&format!(
        "PRAGMA copy.cipher_page_size = {PAGE_SIZE};
         PRAGMA copy.journal_mode = OFF;
         PRAGMA copy.synchronous = OFF;"
    ))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use rusqlite::types::Value;

    use super::*;

    const KEY: [u8; 32] = [7; 32];

    #[test]
    fn a_database_is_encrypted_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let db = open_database(&path, &KEY, true).unwrap();
        db.execute_batch("CREATE TABLE word (text TEXT); INSERT INTO word VALUES ('samizdat samizdat');")
            .unwrap();
        // SQLCipher answers some of these in text, SQLite in numbers.
        let on = |name: &str| match db
            .query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, Value>(0))
            .unwrap()
        {
            Value::Integer(number) => number.to_string(),
            Value::Text(text) => text,
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(on("page_size"), PAGE_SIZE.to_string());
        assert_eq!(on("journal_mode"), "wal");
        assert_eq!(on("synchronous"), "2");
        assert_eq!(on("secure_delete"), "1");
        assert_eq!(on("temp_store"), "2");
        assert_eq!(on("foreign_keys"), "1");
        assert_eq!(on("cipher_memory_security"), "0");
        db.close().unwrap();
        let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["store"]);
        let bytes = std::fs::read(&path).unwrap();
        for word in [&b"samizdat"[..], b"SQLite", b"CREATE TABLE"] {
            assert!(!bytes.windows(word.len()).any(|window| window == word), "{word:?} on disk");
        }
        let db = open_database(&path, &KEY, false).unwrap();
        let text: String = db.query_row("SELECT text FROM word", [], |row| row.get(0)).unwrap();
        assert_eq!(text, "samizdat samizdat");
    }

    #[cfg(unix)]
    #[test]
    fn every_file_of_an_open_database_is_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let db = open_database(&dir.path().join("store"), &KEY, true).unwrap();
        db.execute_batch("CREATE TABLE t (a);").unwrap();
        let modes: Vec<_> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().permissions().mode() & 0o777)
            .collect();
        assert_eq!(modes, [0o600; 3], "store, -wal and -shm");
    }

    #[test]
    fn a_wrong_key_random_bytes_an_empty_and_a_missing_file_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        assert!(matches!(open_database(&path, &KEY, false), Err(DepotError::Missing)));
        open_database(&path, &KEY, true).unwrap().execute_batch("CREATE TABLE t (a);").unwrap();
        assert!(matches!(open_database(&path, &KEY, true), Err(DepotError::AlreadyExists)));
        assert!(matches!(open_database(&path, &[8; 32], false), Err(DepotError::WrongKey)));
        assert!(open_database(&path, &KEY, false).is_ok(), "a wrong key harms nothing");
        let noise: Vec<u8> = (0..65_536_u32).map(|n| blake3::hash(&n.to_le_bytes()).as_bytes()[0]).collect();
        std::fs::write(&path, noise).unwrap();
        assert!(matches!(open_database(&path, &KEY, false), Err(DepotError::WrongKey)));
        std::fs::write(&path, []).unwrap();
        assert!(matches!(open_database(&path, &KEY, false), Err(DepotError::Damaged(_))));
    }

    #[cfg(unix)]
    #[test]
    fn a_copy_under_another_key_has_all_that_lives_and_nothing_else() {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};
        let dir = tempfile::tempdir().unwrap();
        let db = open_database(&dir.path().join("store"), &KEY, true).unwrap();
        db.execute_batch(
            "CREATE TABLE word (number INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT);
             CREATE VIRTUAL TABLE found USING fts5(body);
             INSERT INTO word (text) VALUES ('samizdat'), ('deleted');
             INSERT INTO found VALUES ('samizdat and more');
             DELETE FROM word WHERE text = 'deleted';
             PRAGMA user_version = 7;",
        )
        .unwrap();
        let path = dir.path().join(OsStr::from_bytes(b"copy \xff of 'it'"));
        copy_database(&db, &path, &[9; 32]).unwrap();
        assert!(matches!(copy_database(&db, &path, &[9; 32]), Err(DepotError::AlreadyExists)));
        assert!(matches!(open_database(&path, &KEY, false), Err(DepotError::WrongKey)));
        let copy = open_database(&path, &[9; 32], false).unwrap();
        let one = |sql: &str| copy.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(one("PRAGMA user_version"), 7);
        assert_eq!(one("SELECT count(*) FROM word WHERE text = 'samizdat'"), 1);
        assert_eq!(one("SELECT count(*) FROM word"), 1);
        assert_eq!(one("SELECT count(*) FROM found WHERE found MATCH 'more'"), 1);
        assert_eq!(one("SELECT seq FROM sqlite_sequence WHERE name = 'word'"), 2);
        copy.close().unwrap();
        db.execute("INSERT INTO word (text) VALUES ('the first goes on')", []).unwrap();
    }
}
