//! Looking for words where they must not be: in every file below a directory, in the encodings that
//! programs commonly use.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A word, and the bytes it would leave.
#[derive(Debug, Clone)]
pub struct Canary {
    word: String,
    forms: Vec<(&'static str, Vec<u8>)>,
}

/// A canary that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// The file.
    pub file: PathBuf,
    /// Where in it, in bytes.
    pub offset: usize,
    /// The word.
    pub word: String,
    /// How it was written.
    pub form: &'static str,
}

impl Canary {
    /// A word in UTF-8, UTF-16 in both byte orders, Latin letters in either case, and as
    /// hexadecimal and base64 of its UTF-8 (at each of the three alignments).
    pub fn word(word: &str) -> Self {
        let mut forms = vec![("UTF-8", word.as_bytes().to_vec())];
        for (name, text) in [("lower case", word.to_lowercase()), ("upper case", word.to_uppercase())] {
            forms.push((name, text.into_bytes()));
        }
        forms.push(("UTF-16LE", word.encode_utf16().flat_map(u16::to_le_bytes).collect()));
        forms.push(("UTF-16BE", word.encode_utf16().flat_map(u16::to_be_bytes).collect()));
        forms.extend(encoded(word.as_bytes()));
        Self::of(word, forms)
    }

    /// Raw bytes such as a key, as they are and in hexadecimal and base64.
    pub fn bytes(name: &str, bytes: &[u8]) -> Self {
        let mut forms = vec![("raw bytes", bytes.to_vec())];
        forms.extend(encoded(bytes));
        Self::of(name, forms)
    }

    fn of(word: &str, mut forms: Vec<(&'static str, Vec<u8>)>) -> Self {
        // Below five bytes a hit in encrypted data is only a matter of size.
        forms.retain(|(_, bytes)| bytes.len() >= 5);
        assert!(!forms.is_empty(), "too short for a canary: {word}");
        Self { word: word.to_owned(), forms }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.word
    }

    /// Where it stands in these bytes, and how it is written.
    pub fn find(&self, bytes: &[u8]) -> Option<(usize, &'static str)> {
        self.forms.iter().find_map(|(form, wanted)| Some((position(bytes, wanted)?, *form)))
    }
}

fn encoded(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![("HEX", hex.to_uppercase().into_bytes()), ("hex", hex.into_bytes())];
    for (skip, form) in [(0, "base64"), (1, "base64, second alignment"), (2, "base64, third alignment")] {
        forms.push((form, base64_core(bytes, skip)));
    }
    forms
}

/// The characters of base64 that depend on `bytes` alone when `skip` unknown bytes stand before them.
fn base64_core(bytes: &[u8], skip: usize) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: Vec<bool> =
        bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1)).collect();
    let first = (6 - skip * 8 % 6) % 6;
    bits[first.min(bits.len())..]
        .chunks_exact(6)
        .map(|six| DIGITS[six.iter().fold(0, |sum, bit| sum * 2 + usize::from(*bit))])
        .collect()
}

fn position(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let (first, rest) = wanted.split_first()?;
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|byte| byte == first) {
        let at = from + at;
        if bytes[at + 1..].starts_with(rest) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

/// Every file below `root`, sockets and the like left out.
pub fn files(root: &Path) -> Vec<PathBuf> {
    below(root, fs::FileType::is_file)
}

/// Every Unix socket below `root`.
pub fn sockets(root: &Path) -> Vec<PathBuf> {
    below(root, std::os::unix::fs::FileTypeExt::is_socket)
}

fn below(root: &Path, wanted: impl Fn(&fs::FileType) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => dirs.push(entry.path()),
                Ok(kind) if wanted(&kind) => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found.sort();
    found
}

/// Files in the directories that every program may write to, and in the root, which were written since then; the
/// directories of machines left out, here and of tests that run at the same time.
pub fn written_elsewhere_since(then: SystemTime) -> Vec<PathBuf> {
    let recent =
        |file: &PathBuf| fs::metadata(file).and_then(|file| file.modified()).is_ok_and(|time| time >= then);
    let of_a_machine = |path: &PathBuf| {
        path.components().any(|part| part.as_os_str().to_string_lossy().starts_with(crate::MACHINE))
    };
    let mut found: Vec<PathBuf> =
        fs::read_dir("/").into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    found.retain(|path| path.is_file());
    for shared in [std::env::temp_dir(), "/tmp".into(), "/var/tmp".into(), "/dev/shm".into()] {
        let tops: Vec<PathBuf> =
            fs::read_dir(shared).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        for top in tops.into_iter().filter(|top| !of_a_machine(top)) {
            found.extend(if top.is_dir() { files(&top) } else { vec![top] });
        }
    }
    found.retain(recent);
    found.sort();
    found.dedup();
    found
}

/// Looks for the canaries in the names and the bytes of every file below `roots`.
pub fn search(roots: &[&Path], canaries: &[Canary]) -> Vec<Trace> {
    search_files(roots.iter().flat_map(|root| files(root)), canaries)
}

/// The same, file by file.
pub fn search_files(files: impl IntoIterator<Item = PathBuf>, canaries: &[Canary]) -> Vec<Trace> {
    let mut traces = Vec::new();
    for file in files {
        let Ok(bytes) = fs::read(&file) else { continue };
        for place in [&bytes, file.as_os_str().as_encoded_bytes()] {
            for canary in canaries {
                if let Some((offset, form)) = canary.find(place) {
                    traces.push(Trace { file: file.clone(), offset, word: canary.word.clone(), form });
                }
            }
        }
    }
    traces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_planted_word_is_found_in_every_encoding() {
        let dir = tempfile::tempdir().unwrap();
        let canary = Canary::word("Žamčužny");
        let utf16 =
            |order: fn(u16) -> [u8; 2]| "xxŽamčužny".encode_utf16().flat_map(order).collect::<Vec<u8>>();
        let plants: [(&str, Vec<u8>); 5] = [
            ("utf8", "… Žamčužny …".into()),
            ("upper", "… ŽAMČUŽNY …".into()),
            ("le", utf16(u16::to_le_bytes)),
            ("be", utf16(u16::to_be_bytes)),
            ("hex", b"c5bd616dc48d75c5be6e79".to_vec()),
        ];
        for (name, bytes) in &plants {
            fs::write(dir.path().join(name), bytes).unwrap();
        }
        fs::write(dir.path().join("innocent"), "Zamcuzny").unwrap();
        let found = search(&[dir.path()], &[canary]);
        assert_eq!(found.len(), plants.len(), "{found:?}");
    }

    #[test]
    fn base64_is_found_whatever_stands_before_it() {
        // "secretwords", preceded by 0, 1 and 2 bytes: printf 'XXsecretwords' | base64
        for text in ["c2VjcmV0d29yZHM=", "WHNlY3JldHdvcmRz", "WFhzZWNyZXR3b3Jkcw=="] {
            assert!(Canary::bytes("key", b"secretwords").find(text.as_bytes()).is_some(), "{text}");
        }
    }
}
