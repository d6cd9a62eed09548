//! Whatever happens to a file: its intact entries come out, no others, and the report says so.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::limits::{ENTRY_SEALED_MAX, ENTRY_SEALED_MIN};
use crate::session::TransportSecret;
use crate::{BundleId, EntryId};

type Entry = (EntryId, Vec<u8>);

fn secret(byte: u8) -> TransportSecret {
    TransportSecret::new(u32::from(byte), [byte; 32])
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn salts(seed: u64) -> impl FnMut() -> Result<[u8; SALT_LEN], ()> {
    let mut number = seed << 32;
    move || {
        number += 1;
        Ok(*blake3::hash(&number.to_le_bytes()).as_bytes())
    }
}

fn entries(lens: &[usize]) -> Vec<Entry> {
    let of = |(seed, len): (usize, &usize)| {
        let sealed = noise(seed as u64 + 1, *len);
        (EntryId::of(&sealed), sealed)
    };
    lens.iter().enumerate().map(of).collect()
}

fn write(secret: &TransportSecret, part: u16, last: bool, entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = PartWriter::new(secret.clone(), BundleId::from_bytes([9; 16]), part);
    let mut salts = salts(u64::from(part) + 1);
    for (id, sealed) in entries {
        writer.add(id, sealed, &mut salts, &mut out).unwrap();
    }
    let planned = part_len(writer.records());
    writer.finish(last, &mut salts, &mut out).unwrap();
    assert_eq!(out.len() as u64, planned);
    out
}

/// The ids of the bytes that come out, whatever is said of them.
fn read(secrets: &[TransportSecret], file: &[u8]) -> (Vec<EntryId>, PartReport) {
    let mut reader = PartReader::new(secrets.to_vec());
    let mut entries = Vec::new();
    for block in file.chunks(BLOCK_LEN) {
        reader.block(block, &mut entries);
    }
    (ids(entries.iter()), reader.finish())
}

fn ids<'a>(entries: impl Iterator<Item = &'a Entry>) -> Vec<EntryId> {
    entries.map(|(_, sealed)| EntryId::of(sealed)).collect()
}

/// Which blocks each entry lies in.
fn places(entries: &[Entry]) -> Vec<std::ops::RangeInclusive<usize>> {
    let mut from = 0;
    let place = |(_, sealed): &Entry| {
        let to = from + RECORD_OVERHEAD + sealed.len();
        let blocks = from / BODY_LEN..=(to - 1) / BODY_LEN;
        from = to;
        blocks
    };
    entries.iter().map(place).collect()
}

fn without(entries: &[Entry], gone: &[usize]) -> Vec<EntryId> {
    let kept = |(_, place): &(&Entry, std::ops::RangeInclusive<usize>)| {
        !gone.iter().any(|block| place.contains(block))
    };
    ids(entries.iter().zip(places(entries)).filter(kept).map(|(entry, _)| entry))
}

fn lens() -> impl Strategy<Value = Vec<usize>> {
    let len = prop_oneof![
        8 => ENTRY_SEALED_MIN..4_000_usize,
        2 => 15_000..18_000_usize,
        1 => 60_000..90_000_usize,
    ];
    vec(len, 1..24)
}

#[test]
fn records_that_end_with_a_block_or_lie_across_many_come_back() {
    let exact = BODY_LEN - RECORD_OVERHEAD;
    for lens in [
        &[][..],
        &[ENTRY_SEALED_MIN],
        &[exact],
        &[exact, exact],
        &[exact, ENTRY_SEALED_MIN],
        &[exact - 1, 2_000],
        // The head of the second record is cut by the end of the block, at each of its bytes.
        &[exact - 2, 2_000],
        &[exact - 4, 2_000],
        &[exact - 20, 2_000],
        &[exact - RECORD_OVERHEAD, 2_000],
        &[exact - RECORD_OVERHEAD - 1, 2_000],
        &[ENTRY_SEALED_MAX, ENTRY_SEALED_MIN, ENTRY_SEALED_MAX],
    ] {
        let entries = entries(lens);
        let file = write(&secret(1), 0, true, &entries);
        let (found, report) = read(&[secret(1)], &file);
        assert_eq!(found, ids(entries.iter()), "{lens:?}");
        assert!(report.is_whole(), "{lens:?}: {report:?}");
    }
}

#[test]
fn any_of_the_secrets_opens_it_and_no_other() {
    let entries = entries(&[2_000; 20]);
    let file = write(&secret(1), 3, false, &entries);
    let (found, report) = read(&[secret(3), secret(2), secret(1)], &file);
    assert_eq!(found, ids(entries.iter()));
    assert!(report.is_whole());
    let part = SeenPart { bundle: BundleId::from_bytes([9; 16]), number: 3, last: Some(false) };
    assert_eq!(report.part, Some(part));
    let (found, report) = read(&[secret(3), secret(2)], &file);
    assert!(found.is_empty() && !report.is_bundle() && !report.is_whole());
    assert_eq!(report.damaged, report.blocks);
    let (found, report) = read(&[], &file);
    assert!(found.is_empty() && !report.is_bundle());
}

#[test]
fn no_byte_of_a_file_can_be_altered_unnoticed_and_each_costs_one_block() {
    let entries = entries(&[2_000; 30]);
    let file = write(&secret(1), 0, true, &entries);
    assert!(file.len() > 3 * BLOCK_LEN);
    let block = BLOCK_LEN;
    let bytes = (block..block + 200).chain((block..2 * block).step_by(97)).chain(2 * block - 40..2 * block);
    for at in bytes {
        let mut bad = file.clone();
        bad[at] ^= 0x10;
        let (found, report) = read(&[secret(1)], &bad);
        assert_eq!(found, without(&entries, &[1]), "byte {at}");
        assert!(report.damaged == 1 && !report.is_whole() && !report.is_torn(), "byte {at}: {report:?}");
    }
}

#[test]
fn an_entry_that_is_cut_is_named() {
    let entries = entries(&[1_500, 40_000, 1_500]);
    let file = write(&secret(1), 0, true, &entries);
    let (found, report) = read(&[secret(1)], &file[..2 * BLOCK_LEN]);
    assert_eq!(found, ids(entries[..1].iter()));
    assert!(report.is_torn() && report.damaged == 0);
    assert_eq!((report.cut, report.cut_ids), (1, vec![entries[1].0]));
}

#[test]
fn blocks_in_another_order_or_of_another_part_give_the_entries_that_are_whole_in_them() {
    let first = entries(&[2_000; 40]);
    let file = write(&secret(1), 0, true, &first);
    let mut blocks: Vec<&[u8]> = file.chunks(BLOCK_LEN).collect();
    blocks.swap(1, 3);
    let (found, report) = read(&[secret(1)], &blocks.concat());
    let whole = first.iter().zip(places(&first)).filter(|(_, place)| place.start() == place.end());
    // 0 3 2 1 4: no two that follow one another.
    assert_eq!(sorted(found), sorted(ids(whole.map(|(entry, _)| entry))));
    assert_eq!((report.damaged, report.misplaced), (0, 2));
    assert!(!report.is_whole());
    // A block of the second part in the middle of the first.
    let second = entries(&[2_001; 12]);
    let other = write(&secret(1), 1, true, &second);
    blocks.swap(1, 3);
    blocks[2] = &other[..BLOCK_LEN];
    let (found, report) = read(&[secret(1)], &blocks.concat());
    assert_eq!(sorted(found), sorted([without(&first, &[2]), without(&second, &[1])].concat()));
    assert_eq!((report.misplaced, report.is_whole()), (1, false));
}

fn sorted(mut ids: Vec<EntryId>) -> Vec<EntryId> {
    ids.sort();
    ids
}

#[test]
fn a_cheap_look_at_the_head_tells_ours_from_others() {
    let file = write(&secret(1), 0, true, &entries(&[2_000]));
    let reader = PartReader::new(vec![secret(2), secret(1)]);
    assert!(reader.recognises(&file[..HEAD_LEN]));
    assert!(!reader.recognises(&file[..HEAD_LEN - 1]));
    assert!(!reader.recognises(&noise(1, HEAD_LEN)));
    assert!(!PartReader::new(vec![secret(2)]).recognises(&file[..HEAD_LEN]));
}

/// A block as only somebody with the secret can make it.
fn forged(number: u32, first: Option<u16>, body: &[u8]) -> Vec<u8> {
    let head = Head {
        version: VERSION,
        bundle: BundleId::from_bytes([9; 16]),
        part: 0,
        number,
        last: false,
        last_part: false,
        first,
        used: u16::try_from(body.len()).unwrap(),
    };
    let mut out = Vec::new();
    seal_block(&secret(1), blake3::hash(&number.to_be_bytes()).as_bytes(), &head, body, &mut out);
    out
}

fn record((id, sealed): &Entry) -> Vec<u8> {
    [&u32::try_from(sealed.len()).unwrap().to_be_bytes()[..], id.as_bytes(), sealed].concat()
}

#[test]
fn lengths_that_no_entry_has_cost_nothing_but_the_rest_of_their_block() {
    let good = entries(&[1_500, 1_600]);
    for len in [0, 1, 1_023, u32::try_from(ENTRY_SEALED_MAX).unwrap() + 1, u32::MAX] {
        let huge = [&record(&good[0])[..], &len.to_be_bytes(), &[7; 5_000]].concat();
        let file = [forged(0, Some(0), &huge), forged(1, Some(0), &record(&good[1]))].concat();
        let (found, report) = read(&[secret(1)], &file);
        assert_eq!(found, ids(good.iter()), "{len}");
        assert_eq!((report.impossible, report.cut), (1, 0), "{len}");
    }
}

#[test]
fn one_bad_block_in_a_long_entry_is_counted_once() {
    let entries = entries(&[1_500, 1 << 20, 1_600]);
    let good = write(&secret(1), 0, true, &entries);
    for block in [0, 5, 40, good.len() / BLOCK_LEN - 1] {
        let mut file = good.clone();
        file[block * BLOCK_LEN + 9_000] ^= 1;
        let (found, report) = read(&[secret(1)], &file);
        assert_eq!(found, without(&entries, &[block]), "{block}");
        // Of the first block alone nobody knows that an entry began in it.
        let cut = u64::from(block > 0);
        assert_eq!((report.damaged, report.cut, report.impossible), (1, cut, 0), "{block}");
    }
}

#[test]
fn what_no_writer_makes_is_counted_once_however_long_it_goes_on() {
    let good = entries(&[1_500, 1_600]);
    let none = |number| forged(number, None, &[7; 500]);
    let last = |number| forged(number, Some(3), &[&[7; 3][..], &record(&good[1])].concat());
    // No record had begun; or one of an impossible length had.
    let huge = [&record(&good[0])[..], &u32::MAX.to_be_bytes(), &[7; 500]].concat();
    for begins in [forged(0, Some(0), &record(&good[0])), forged(0, Some(0), &huge)] {
        let file = [begins, none(1), none(2), none(3), last(4)].concat();
        let (found, report) = read(&[secret(1)], &file);
        assert_eq!((found, report.impossible, report.cut), (ids(good.iter()), 1, 0));
    }
}

#[test]
fn heads_that_contradict_the_records_are_noticed() {
    let good = entries(&[1_500, 20_000, 1_600]);
    let stream = record(&good[1]);
    let (begun, rest) = stream.split_at(9_000);
    // The second block says that a record begins where the first one's has not ended.
    let early =
        [forged(0, Some(0), begun), forged(1, Some(500), &[&rest[..500], &record(&good[2])].concat())];
    // Bytes that belong to nothing stand before the record.
    let between = [
        forged(0, Some(0), &record(&good[0])),
        forged(1, Some(7), &[&[0; 7][..], &record(&good[2])].concat()),
    ];
    // The record ends, and the head does not say that another begins.
    let hidden = [forged(0, Some(0), begun), forged(1, None, &[rest, &record(&good[0])].concat())];
    for (blocks, expected) in
        [(early, vec![good[2].0]), (between, vec![good[0].0, good[2].0]), (hidden, vec![])]
    {
        let (found, report) = read(&[secret(1)], &blocks.concat());
        assert_eq!((found, report.impossible), (expected, 1));
    }
    // Offsets beyond what is used do not even make a head.
    for (first, used) in [(1_500, 1_500_u16), (2_000, 1_500), (0, 0)] {
        let block = forged(0, Some(first), &vec![0; usize::from(used)]);
        assert_eq!(open_block(&block, &[secret(1)]), (None, Opened::Foreign), "{first} of {used}");
    }
}

#[test]
fn a_block_of_a_later_version_is_told_from_a_damaged_one() {
    let head = Head {
        version: 2,
        bundle: BundleId::from_bytes([9; 16]),
        part: 0,
        number: 0,
        last: true,
        last_part: true,
        first: None,
        used: 0,
    };
    let mut file = Vec::new();
    seal_block(&secret(1), &[5; 32], &head, &[], &mut file);
    let (_, report) = read(&[secret(1)], &file);
    assert_eq!((report.newer, report.damaged), (1, 0));
    assert!(report.is_bundle() && !report.is_whole());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_truncation_yields_exactly_the_entries_before_it(lens in lens(), cut in 0.0..1.0_f64) {
        let entries = entries(&lens);
        let file = write(&secret(1), 0, true, &entries);
        let cut = (file.len() as f64 * cut) as usize;
        let whole = cut / BLOCK_LEN;
        let gone: Vec<usize> = (whole..file.len() / BLOCK_LEN).collect();
        let (found, report) = read(&[secret(1)], &file[..cut]);
        prop_assert_eq!(found, without(&entries, &gone));
        prop_assert!(!report.is_whole() && report.is_torn());
        prop_assert_eq!(report.good as usize, whole);
    }

    #[test]
    fn any_altered_bits_yield_exactly_the_intact_entries(
        lens in lens(), flips in vec((0.0..1.0_f64, 0..8_u32), 1..6),
    ) {
        let entries = entries(&lens);
        let mut file = write(&secret(1), 0, true, &entries);
        let mut bad = Vec::new();
        for (at, bit) in flips {
            let at = (file.len() as f64 * at) as usize;
            file[at] ^= 1 << bit;
            bad.push(at / BLOCK_LEN);
        }
        // The same bit twice is as it was.
        let original = write(&secret(1), 0, true, &entries);
        bad.retain(|block| file[block * BLOCK_LEN..][..BLOCK_LEN] != original[block * BLOCK_LEN..][..BLOCK_LEN]);
        bad.sort_unstable();
        bad.dedup();
        let (found, report) = read(&[secret(2), secret(1)], &file);
        prop_assert_eq!(found, without(&entries, &bad));
        prop_assert_eq!(report.damaged as usize, bad.len());
        prop_assert_eq!(report.is_whole(), bad.is_empty());
    }

    #[test]
    fn lost_blocks_yield_exactly_the_entries_of_the_others(
        lens in lens(), gone in vec(any::<proptest::sample::Index>(), 1..4),
    ) {
        let entries = entries(&lens);
        let file = write(&secret(1), 0, true, &entries);
        let blocks = file.len() / BLOCK_LEN;
        let gone: Vec<usize> = gone.iter().map(|index| index.index(blocks)).collect();
        let left: Vec<&[u8]> =
            file.chunks(BLOCK_LEN).enumerate().filter(|(at, _)| !gone.contains(at)).map(|(_, b)| b).collect();
        let (found, report) = read(&[secret(1)], &left.concat());
        prop_assert_eq!(found, without(&entries, &gone));
        prop_assert!(!report.is_whole());
    }

    #[test]
    fn what_somebody_with_the_secret_forges_never_panics(
        bodies in vec((vec(any::<u8>(), 0..3_000), any::<u16>(), 0..3_u32), 1..6),
    ) {
        let blocks: Vec<Vec<u8>> = bodies
            .iter()
            .map(|(body, first, number)| {
                let first = (*first < u16::try_from(body.len()).unwrap()).then_some(*first);
                forged(*number, first, body)
            })
            .collect();
        let (found, report) = read(&[secret(1)], &blocks.concat());
        prop_assert_eq!(report.entries as usize, found.len());
        prop_assert_eq!(report.good as usize, blocks.len());
    }

    #[test]
    fn random_bytes_are_nothing(bytes in vec(any::<u8>(), 0..40_000)) {
        let (found, report) = read(&[secret(1), secret(2)], &bytes);
        prop_assert!(found.is_empty() && !report.is_bundle());
        prop_assert_eq!(report.blocks as usize, bytes.len().div_ceil(BLOCK_LEN));
    }
}
