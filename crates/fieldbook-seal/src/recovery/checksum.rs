//! RS1024: the three check words at the end of a share. They show any three wrong words, and where
//! one wrong word is.

/// How many of a share's words are checksum.
pub(super) const WORDS: usize = 3;

/// The generator of SLIP-39, ten bits for each of three coefficients and each bit of the input.
const GENERATOR: [u32; 10] = [
    0x00e0_e040,
    0x01c1_c080,
    0x0383_8100,
    0x0707_0200,
    0x0e0e_0009,
    0x1c0c_2412,
    0x3808_6c24,
    0x3090_fc48,
    0x21b1_f890,
    0x03f3_f120,
];

/// Words count from 0 to 1023; the label's bytes stand before them.
fn remainder(label: &[u8], words: impl Iterator<Item = u16>) -> u32 {
    let values = label.iter().map(|byte| u32::from(*byte)).chain(words.map(u32::from));
    values.fold(1, |sum, value| {
        let top = sum >> 20;
        let shifted = (sum & 0xf_ffff) << 10 ^ value;
        (0..10).zip(GENERATOR).fold(shifted, |sum, (bit, term)| sum ^ (term * (top >> bit & 1)))
    })
}

/// The check words of `data`.
pub(super) fn create(label: &[u8], data: &[u16]) -> [u16; WORDS] {
    let sum = remainder(label, data.iter().copied().chain([0; WORDS])) ^ 1;
    [20, 10, 0].map(|shift| u16::try_from(sum >> shift & 0x3ff).unwrap_or_default())
}

/// Whether the last three words are the checksum of the others.
pub(super) fn holds(label: &[u8], words: &[u16]) -> bool {
    remainder(label, words.iter().copied()) == 1
}

/// Where another word (and which one is of no interest) would make the checksum hold, from 0. The
/// standard allows to tell the place; it asks not to tell the word, so that a guess is not taken
/// for what was written.
pub(super) fn suspect(label: &[u8], words: &[u16]) -> Option<usize> {
    (0..words.len()).find(|at| {
        let with = |other: u16| words.iter().enumerate().map(move |(i, w)| if i == *at { other } else { *w });
        (0..1_024).any(|other| remainder(label, with(other)) == 1)
    })
}
