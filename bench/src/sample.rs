//! The material that is measured with: incompressible bytes, medians, and reports.

use std::time::Duration;

/// Bytes that no layer can compress, different for every `seed`.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// `count` different entries, as sealed ones are.
pub fn entries(count: usize, len: usize) -> Vec<Vec<u8>> {
    (0..count as u64).map(|seed| noise(seed, len)).collect()
}

/// The middle of the measured times.
pub fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// A report as `import` and `new --from` take it, with a narrative of words that do not repeat, so
/// that its entry is about 2 KB once sealed.
pub fn report(number: usize) -> String {
    let words: Vec<String> =
        noise(number as u64, 1_240).chunks(4).map(|chunk| chunk.iter().map(letter).collect()).collect();
    serde_json::json!({
        "template": "detention",
        "title": format!("Detention {number}"),
        "language": "en",
        "fields": { "date": "2017-03-25", "place": { "country": "BY", "locality": "Minsk" },
                    "authority": "anti-riot police", "people_detained": 3 },
        "narrative": words.join(" "),
        "sources": ["observation"],
    })
    .to_string()
}

fn letter(byte: &u8) -> char {
    char::from(b'a' + byte % 26)
}
