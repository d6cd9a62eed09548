// Reads the vectors of one folder. Included by the tests that run them, so that every crate reads
// the one form that protocol/conventions.md describes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One vector: header lines, an empty line, the payload.
pub struct Vector {
    pub file: String,
    pub fields: BTreeMap<String, String>,
    pub payload: String,
}

impl Vector {
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).unwrap_or_else(|| panic!("{}: no line \"{name}:\"", self.file))
    }

    pub fn hex(&self, name: &str) -> Vec<u8> {
        from_hex(self.field(name))
    }

    /// The payload as bytes written in hexadecimal over any number of lines.
    pub fn bytes(&self) -> Vec<u8> {
        from_hex(&self.payload)
    }
}

pub fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    assert_eq!(digits.len() % 2, 0, "an odd number of digits");
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[allow(dead_code, reason = "only the tests that write vectors need it")]
pub fn to_hex_lines(bytes: &[u8]) -> String {
    bytes.chunks(32).map(|line| fieldbook_proto::encode_hex(line) + "\n").collect()
}

pub fn folder(section: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../protocol/vectors").join(section)
}

/// All vectors of a section, by file name. Panics when there are none.
pub fn vectors(section: &str) -> Vec<Vector> {
    let folder = folder(section);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("the folder of the vectors")
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} holds no vectors", folder.display());
    files.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> Vector {
    let file = path.file_name().unwrap().to_string_lossy().into_owned();
    let text = std::fs::read_to_string(path).unwrap();
    let (head, payload) = text.split_once("\n\n").unwrap_or_else(|| panic!("{file}: no empty line"));
    let fields = head
        .lines()
        .map(|line| line.split_once(": ").unwrap_or_else(|| panic!("{file}: {line}")))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    Vector { file, fields, payload: payload.to_owned() }
}
