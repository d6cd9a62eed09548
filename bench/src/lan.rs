//! What noise at the port of LAN discovery costs: the tries of one datagram under the newest secret, and under all that a
//! device may keep. The daemon looks at 20,000 a second at most, and tries earlier secrets on 16 of them.

use std::error::Error;
use std::time::Instant;

use fieldbook_proto::lan::{HourKey, LEN, hours};
use fieldbook_proto::session::TransportSecret;

use crate::sample;

const NOISE: u32 = 200_000;
/// Datagrams that the daemon looks at in a second, and those that it tries under earlier secrets.
const LOOKED_AT: f64 = 20_000.0;
const OLDER_TRIES: f64 = 16.0;

pub fn run() -> Result<(), Box<dyn Error>> {
    println!("| a datagram of noise, {LEN} bytes | time | of one core, at most |");
    println!("|---|---|---|");
    for (epochs, a_second) in [(1_u8, LOOKED_AT), (64, OLDER_TRIES)] {
        let secrets = (1..=epochs).map(|epoch| TransportSecret::new(u32::from(epoch), [epoch; 32]));
        let keys: Vec<HourKey> =
            secrets.flat_map(|secret| hours(1_800_000_000).map(|hour| HourKey::of(&secret, hour))).collect();
        let datagrams: Vec<Vec<u8>> = (0..64).map(|seed| sample::noise(seed, LEN)).collect();
        let number = NOISE / u32::from(epochs);
        let start = Instant::now();
        for datagram in datagrams.iter().cycle().take(usize::try_from(number)?) {
            if keys.iter().any(|key| key.open(datagram).is_some()) {
                return Err("noise was taken".into());
            }
        }
        let each = (start.elapsed() / number).as_secs_f64();
        println!(
            "| {epochs} secrets known, {} tries | {:.2} µs | {:.1} % |",
            keys.len(),
            each * 1e6,
            each * a_second * 1e2
        );
    }
    Ok(())
}
