//! Doors to the network: who looks up a name, or speaks to anybody first, does so in one of a few files. A
//! promise such as "nothing but the proxy" (`sync --only-via`) is kept in one place, or it is not kept.

use super::Problem;

/// What opens a door.
const DOORS: &[&str] = &[
    "TcpStream::connect",
    "UdpSocket::bind",
    "socket_with(",
    "Endpoint::client",
    "TcpSocket::new",
    "lookup_host",
    "to_socket_addrs",
    "quic::dialler",
    "tcp::dial",
    "socks::dial",
    "AmazonS3Builder::new",
];

/// Where one may be, and why.
const ALLOWED: &[(&str, &str)] = &[
    ("crates/fieldbook-net/src/quic.rs", "the door itself"),
    ("crates/fieldbook-net/src/tcp.rs", "the door itself"),
    ("crates/fieldbook-net/src/lan.rs", "beacons, where the owner asked for them"),
    ("crates/fieldbook-net/src/socks.rs", "to the proxy"),
    ("crates/fieldbook-daemon/src/dial.rs", "decides which ways a sync may take"),
    ("crates/fieldbook-bucket/src/config.rs", "to the bucket that a relay's operator names"),
    ("crates/fieldbook/src/confine/tests.rs", "what confined processes try, on loopback"),
    ("crates/fieldbook/src/network/mod.rs", "the addresses of listening and of pairing"),
    ("crates/fieldbook/src/network/pair.rs", "pairing, which goes straight"),
    ("crates/fieldbook/src/network/reachable.rs", "this machine's own addresses; sends nothing"),
];

/// Looks at one source file of the program; its test modules are free.
pub fn check(path: &str, text: &str) -> Vec<Problem> {
    let of_the_program =
        path.starts_with("crates/") && path.contains("/src/") && !path.starts_with("crates/xtask/");
    if !of_the_program || ALLOWED.iter().any(|(file, _)| path == *file) {
        return Vec::new();
    }
    let program = text.split("#[cfg(test)]").next().unwrap_or_default();
    let mut problems = Vec::new();
    for (number, line) in program.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        for door in DOORS.iter().filter(|door| code.contains(**door)) {
            let what = format!("\"{door}\" opens a door to the network; these are listed in tidy/doors.rs");
            problems.push(Problem::new(path, number + 1, what));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_door_stands_where_it_is_listed_and_in_tests() {
        let code = "fn f() {\n    tokio::net::lookup_host(x);\n}\n";
        let found = check("crates/fieldbook-daemon/src/courier.rs", code);
        assert_eq!(found.iter().map(|problem| problem.line).collect::<Vec<_>>(), [Some(2)]);
        assert!(check("crates/fieldbook-daemon/src/dial.rs", code).is_empty());
        assert!(check("crates/fieldbook-daemon/tests/a.rs", code).is_empty());
        assert!(check("crates/a/src/b.rs", &format!("// lookup_host\n#[cfg(test)]\n{code}")).is_empty());
    }
}
