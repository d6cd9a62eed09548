//! Which ways a courier takes to an address, and the only place where this crate looks up a name or
//! connects to anybody.
//!
//! Straight: QUIC, and TCP as well when QUIC has not come through after a moment, so that a network that
//! drops UDP costs that moment and not a timeout. Through a proxy: TCP, and names are the proxy's to look
//! up. With [`Ways::Only`] there is no road but the proxy: no name is looked up, no datagram sent.
//!
//! All of it goes behind the veil, through a proxy, too. Where a network passes nothing but what it knows, the address is given as
//! `quic://HOST:PORT`, and nothing else makes a device show plain QUIC, or plain TLS by TCP. `veil://HOST:PORT` goes
//! straight by the veil's datagrams and nothing else: no TCP.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use fieldbook_depot::Depot;
use fieldbook_net::channel::Way;
use fieldbook_net::quic::Endpoint;
use fieldbook_net::secured::SecureError;
use fieldbook_net::session::STANDSTILL;
use fieldbook_net::socks::Proxy;
use fieldbook_net::tls::TransportKey;
use fieldbook_net::veil::{carried, system_clock};
use fieldbook_net::{quic, secured, socks, tcp};
use fieldbook_proto::session::TransportSecret;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::connection::Link;
use crate::identity::Identity;
use crate::{chance, relays};

/// How long one way may take to the end of its handshake.
const PATIENCE: Duration = Duration::from_secs(10);
/// A proxy may have a circuit to build first: Tor takes seconds, on a bad day half a minute.
const PROXY_PATIENCE: Duration = Duration::from_secs(60);
/// How long a listener may take to answer behind the veil by UDP before earlier secrets are tried, and how long each
/// of those then has.
const EPOCH_PATIENCE: Duration = Duration::from_millis(1_000);
/// The same by TCP, where two round trips come before the answer.
const TCP_EPOCH_PATIENCE: Duration = Duration::from_secs(3);
/// And through a proxy.
const PROXY_EPOCH_PATIENCE: Duration = Duration::from_secs(10);
/// How long QUIC may take before TCP is tried beside it.
const HEAD_START: Duration = Duration::from_millis(600);
/// At how many of a name's addresses it is tried.
const ADDRESSES_MAX: usize = 6;

/// Which ways may be taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ways {
    /// Straight to the other device.
    #[default]
    Straight,
    /// Straight; when that leads nowhere, through the proxy.
    StraightThen(Proxy),
    /// Through the proxy and not otherwise: no other connection, no datagram, no name looked up.
    Only(Proxy),
}

/// How to dial, and how fast to be then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialling {
    /// The ways that may be taken.
    pub ways: Ways,
    /// At most so many bytes a second, in both directions together.
    pub limit: Option<NonZeroU64>,
    /// For how long nothing may move in a session, unless both are in step and stay. Tests have less.
    pub patience: Duration,
}

impl Default for Dialling {
    fn default() -> Self {
        Self { ways: Ways::default(), limit: None, patience: STANDSTILL }
    }
}

impl From<Ways> for Dialling {
    fn from(ways: Ways) -> Self {
        Self { ways, ..Self::default() }
    }
}

/// A way that was tried and led nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// Which; none when the name was not found.
    pub way: Option<Way>,
    /// Why, in words.
    pub why: String,
}

/// Before an address at which QUIC and TLS are to go without the veil, and at which nothing is to go but its datagrams.
const UNVEILED: &str = "quic://";
const ONLY_VEILED: &str = "veil://";

/// What a connection looks like on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// Random bytes, in datagrams or in a stream.
    Veiled,
    /// Plain QUIC, and plain TLS.
    Unveiled,
    /// Datagrams of random bytes, and no TCP beside them.
    OnlyVeiled,
}

impl Look {
    /// Whether TCP is a way there, too.
    pub const fn has_tcp(self) -> bool {
        !matches!(self, Self::OnlyVeiled)
    }
}

/// What can be tried for an address, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Road {
    /// QUIC, then TCP beside it.
    Straight(SocketAddr, Look),
    /// TCP, after QUIC was no use.
    StraightTcp(SocketAddr, Look),
    /// TCP through a proxy, to a `HOST:PORT`.
    Through(Proxy, String),
}

impl Road {
    /// TCP beside QUIC, where some networks let QUIC's handshake through and then nothing more.
    pub const fn by_tcp(&self) -> Option<Self> {
        match self {
            Self::Straight(target, look) if look.has_tcp() => Some(Self::StraightTcp(*target, *look)),
            _ => None,
        }
    }
}

/// Who dials.
pub(crate) struct Caller {
    identity: Identity,
    /// The transport keys of the relays that it knows.
    relays: Vec<[u8; 32]>,
}

impl Caller {
    pub fn new(identity: &Identity, depot: &dyn Depot) -> Self {
        Self { relays: relays::keys(depot, &identity.authority), identity: identity.clone() }
    }
}

const NO_SECRET: &str = "this device knows no secret of its team";

/// How long QUIC's socket may take to say that a connection is closed.
const LAST_WORD: Duration = Duration::from_millis(20);

/// Gives up what kept a link alive, once the other side could hear that it is closed.
pub(crate) async fn let_go(endpoint: Option<Endpoint>) {
    if let Some(endpoint) = endpoint {
        let _ = timeout(LAST_WORD, endpoint.wait_idle()).await;
    }
}

/// A link, and what keeps it alive.
pub(crate) struct Reached {
    pub link: Link,
    /// QUIC's socket.
    pub endpoint: Option<Endpoint>,
}

/// How a connection is to look at an address, and its `HOST:PORT`.
pub(crate) fn look(address: &str) -> (Look, &str) {
    match (address.strip_prefix(UNVEILED), address.strip_prefix(ONLY_VEILED)) {
        (Some(bare), _) => (Look::Unveiled, bare),
        (None, Some(bare)) => (Look::OnlyVeiled, bare),
        (None, None) => (Look::Veiled, address),
    }
}

/// The roads to an address. What stands in `ways` decides here and nowhere else.
pub(crate) async fn roads(address: &str, ways: Ways, tried: &mut Vec<Tried>) -> Vec<Road> {
    let (look, address) = look(address);
    let proxy = match ways {
        Ways::Only(proxy) => return vec![Road::Through(proxy, address.to_owned())],
        Ways::StraightThen(proxy) => Some(proxy),
        Ways::Straight => None,
    };
    let mut roads = Vec::new();
    match targets(address, ways).await {
        Ok(targets) => roads.extend(targets.into_iter().map(|target| Road::Straight(target, look))),
        Err(why) => tried.push(Tried { way: None, why }),
    }
    roads.extend(proxy.map(|proxy| Road::Through(proxy, address.to_owned())));
    roads
}

/// Where a `HOST:PORT` is straight from here: nowhere, if only a proxy may be used or only a proxy can know it.
pub(crate) async fn targets(address: &str, ways: Ways) -> Result<Vec<SocketAddr>, String> {
    match ways {
        Ways::Only(_) => return Ok(Vec::new()),
        // Such names are never looked up (RFC 7686): it would tell this network, and nobody knows them.
        Ways::StraightThen(_) if is_onion(address) => return Ok(Vec::new()),
        Ways::Straight if is_onion(address) => {
            let why =
                "only Tor knows .onion names: give --only-via socks5://127.0.0.1:9050, or where Tor listens";
            return Err(why.to_owned());
        }
        Ways::Straight | Ways::StraightThen(_) => {}
    }
    let found = look_up(address).await.map_err(|error| unresolved(address, &error))?;
    Ok(found.into_iter().take(ADDRESSES_MAX).collect())
}

/// Goes down a road to the end of the handshake.
pub(crate) async fn reach(road: &Road, caller: &Caller, tried: &mut Vec<Tried>) -> Option<Reached> {
    let (way, result) = match road {
        Road::Straight(target, look) if !look.has_tcp() => (Way::Quic, by_quic(*target, *look, caller).await),
        Road::Straight(target, look) => return race(*target, *look, caller, tried).await,
        Road::StraightTcp(target, look) => (Way::Tcp, by_tcp(*target, *look, caller).await),
        Road::Through(proxy, address) => (Way::Socks, through(*proxy, address, caller).await),
    };
    result.map_err(|why| tried.push(Tried { way: Some(way), why })).ok()
}

async fn race(target: SocketAddr, look: Look, caller: &Caller, tried: &mut Vec<Tried>) -> Option<Reached> {
    let mut quic = pin!(by_quic(target, look, caller));
    let mut tcp = pin!(by_tcp(target, look, caller));
    let mut missed = |way, why: String| tried.push(Tried { way: Some(way), why });
    let (mut quic_open, mut tcp_open) = (true, true);
    match timeout(HEAD_START, &mut quic).await {
        Ok(Ok(reached)) => return Some(reached),
        Ok(Err(why)) => {
            missed(Way::Quic, why);
            quic_open = false;
        }
        Err(_) => {}
    }
    while quic_open || tcp_open {
        tokio::select! {
            result = &mut quic, if quic_open => match result {
                Ok(reached) => return Some(reached),
                Err(why) => {
                    missed(Way::Quic, why);
                    quic_open = false;
                }
            },
            result = &mut tcp, if tcp_open => match result {
                Ok(reached) => {
                    if quic_open {
                        missed(Way::Quic, "nobody had answered when TCP was through".to_owned());
                    }
                    return Some(reached);
                }
                Err(why) => {
                    missed(Way::Tcp, why);
                    tcp_open = false;
                }
            },
        }
    }
    None
}

pub(crate) async fn by_quic(target: SocketAddr, look: Look, caller: &Caller) -> Result<Reached, String> {
    let Caller { identity, relays } = caller;
    let key = &identity.transport;
    if look == Look::Unveiled {
        return shake(quic::dialler(key, target, None), target, PATIENCE).await;
    }
    let Some((newest, earlier)) = identity.secrets.split_first() else {
        return Err(NO_SECRET.to_owned());
    };
    let mut newest = pin!(shake(quic::dialler(key, target, Some(newest)), target, PATIENCE));
    if relays.is_empty() || earlier.is_empty() {
        return newest.await;
    }
    // A relay that has not heard of the newest secret hears nothing under it, and where only UDP leads
    // to it would hear of it never. Whoever is no relay gets no further than to show its own key.
    let mut earlier = pin!(async {
        // As long as the newest is tried: an answer may be slow, or lost.
        loop {
            tokio::time::sleep(EPOCH_PATIENCE).await;
            for secret in earlier.iter().take(relays::EPOCHS_BACK) {
                let dialler = quic::dialler_to(relays, key, target, secret);
                if let Ok(reached) = shake(dialler, target, EPOCH_PATIENCE).await {
                    return reached;
                }
            }
        }
    });
    tokio::select! {
        result = &mut newest => result,
        reached = &mut earlier => Ok(reached),
    }
}

/// Behind the veil under the newest secret, and not otherwise: whoever does not know that learns no key of this device
/// and hears nothing after the first packets.
pub(crate) async fn by_veil(target: SocketAddr, identity: &Identity) -> Result<Reached, String> {
    match identity.secrets.first() {
        Some(newest) => {
            shake(quic::dialler(&identity.transport, target, Some(newest)), target, PATIENCE).await
        }
        None => Err(NO_SECRET.to_owned()),
    }
}

async fn shake(
    dialler: Result<Endpoint, quic::QuicError>,
    target: SocketAddr,
    patience: Duration,
) -> Result<Reached, String> {
    let shaken = async {
        let endpoint = dialler?;
        let (connection, channel) = quic::dial(&endpoint, target, patience).await?;
        Ok::<_, quic::QuicError>(Reached { link: Link::quic(connection, channel), endpoint: Some(endpoint) })
    };
    shaken.await.map_err(|error| error.to_string())
}

pub(crate) async fn by_tcp(target: SocketAddr, look: Look, caller: &Caller) -> Result<Reached, String> {
    let patience = Patience { newest: PATIENCE, earlier: TCP_EPOCH_PATIENCE, way: Way::Tcp };
    let connect = || async move { tcp::dial(target, PATIENCE).await.map_err(|error| no_connection(&error)) };
    if look == Look::Unveiled {
        let stream = connect().await?;
        return over(secured::connect(&caller.identity.transport, stream, PATIENCE).await, Way::Tcp);
    }
    veiled(connect, patience, caller).await
}

/// Whoever runs the proxy, or the way out of it, is behind the veil's other side, too, however the address is to look.
pub(crate) async fn through(proxy: Proxy, address: &str, caller: &Caller) -> Result<Reached, String> {
    let patience = Patience { newest: PROXY_PATIENCE, earlier: PROXY_EPOCH_PATIENCE, way: Way::Socks };
    let connect = || async move {
        socks::dial(proxy, address, PROXY_PATIENCE).await.map_err(|error| error.to_string())
    };
    veiled(connect, patience, caller).await
}

/// How long a handshake may take under the newest secret, and under each earlier one, over which way.
#[derive(Clone, Copy)]
struct Patience {
    newest: Duration,
    earlier: Duration,
    way: Way,
}

/// A veiled stream under the newest secret; to a relay, after a while, also under earlier ones, as [`by_quic`] does.
async fn veiled<F: Future<Output = Result<TcpStream, String>>>(
    connect: impl Fn() -> F,
    patience: Patience,
    caller: &Caller,
) -> Result<Reached, String> {
    let Caller { identity, relays } = caller;
    let key = &identity.transport;
    let Some((newest, earlier)) = identity.secrets.split_first() else {
        return Err(NO_SECRET.to_owned());
    };
    let stream = connect().await?;
    let mut newest = pin!(shake_veiled(stream, newest, None, key, patience.newest, patience.way));
    if relays.is_empty() || earlier.is_empty() {
        return newest.await;
    }
    let mut earlier = pin!(async {
        // Not to the second, which would be a mark.
        let each = || patience.earlier.mul_f64(1.0 + chance::share() / 2.0);
        tokio::time::sleep(each()).await;
        for secret in earlier.iter().take(relays::EPOCHS_BACK) {
            let each = each();
            let shaken =
                async { shake_veiled(connect().await?, secret, Some(relays), key, each, patience.way).await };
            if let Ok(Ok(reached)) = timeout(each, shaken).await {
                return Some(reached);
            }
        }
        None
    });
    let (mut failed, mut is_over) = (None, false);
    let either = async {
        loop {
            tokio::select! {
                // A listener with many strangers lets go of one that it does not know before all was tried.
                result = &mut newest, if failed.is_none() => match result {
                    Ok(reached) => return Ok(reached),
                    Err(why) => failed = Some(why),
                },
                reached = &mut earlier, if !is_over => match reached {
                    Some(reached) => return Ok(reached),
                    None => is_over = true,
                },
            }
            if let (Some(why), true) = (&failed, is_over) {
                return Err(why.clone());
            }
        }
    };
    timeout(2 * patience.newest, either).await.unwrap_or_else(|_| Err(SecureError::Silent.to_string()))
}

/// Shakes hands behind the veil under a secret; where there are `only`, with nobody whose key is none of them.
async fn shake_veiled(
    stream: TcpStream,
    secret: &TransportSecret,
    only: Option<&[[u8; 32]]>,
    key: &TransportKey,
    patience: Duration,
    way: Way,
) -> Result<Reached, String> {
    let stream = carried::dial(stream, secret, &system_clock()).map_err(|error| error.to_string())?;
    let known = stream.known();
    let secured = match only {
        None => secured::connect(key, stream, patience).await,
        Some(keys) => secured::connect_to(keys, key, stream, patience).await,
    };
    known.note();
    over(secured, way)
}

fn over(
    secured: Result<(secured::Secured, fieldbook_net::channel::Channel), SecureError>,
    way: Way,
) -> Result<Reached, String> {
    let (stream, channel) = secured.map_err(|error| error.to_string())?;
    Ok(Reached { link: Link::stream(stream, channel, way, Arc::default()), endpoint: None })
}

async fn look_up(address: &str) -> io::Result<Vec<SocketAddr>> {
    let found = timeout(PATIENCE, tokio::net::lookup_host(address)).await;
    Ok(found.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??.collect())
}

fn is_onion(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_end_matches('.').to_ascii_lowercase().ends_with(".onion")
}

/// The system's words for the common cases help few people.
fn no_connection(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "no connection: nobody listens there".to_owned(),
        io::ErrorKind::TimedOut => "no connection: nobody answered in time".to_owned(),
        _ => format!("no connection: {error}"),
    }
}

/// The resolver's own words ("Name or service not known") help nobody.
fn unresolved(address: &str, error: &io::Error) -> String {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    match error.kind() {
        io::ErrorKind::InvalidInput => format!("the address cannot be understood: {error}"),
        _ => format!("no device of the name \"{host}\" can be found: it is mistyped, or there is no network"),
    }
}

/// Why an address led nowhere, in one sentence.
pub(crate) fn in_words(tried: &[Tried]) -> String {
    let mut parts: Vec<(Option<Way>, &str)> = Vec::new();
    for Tried { way, why } in tried {
        // A name may stand for several addresses that fail alike.
        if !parts.contains(&(*way, why)) {
            parts.push((*way, why));
        }
    }
    match parts[..] {
        [] => "it ended".to_owned(),
        [(_, why)] => why.to_owned(),
        _ => {
            let said = |(way, why): &(Option<Way>, &str)| match way {
                None => (*why).to_owned(),
                Some(Way::Quic) => format!("by UDP: {why}"),
                Some(Way::Tcp) => format!("by TCP: {why}"),
                Some(Way::Socks) => format!("through the proxy: {why}"),
                Some(Way::Stdio) => format!("through the pipe: {why}"),
            };
            parts.iter().map(said).collect::<Vec<_>>().join("; ")
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn roads_to(address: &str, ways: Ways) -> (Vec<Road>, Vec<Tried>) {
        let mut tried = Vec::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        (runtime.block_on(roads(address, ways, &mut tried)), tried)
    }

    #[test]
    fn only_the_proxy_means_no_other_road_and_no_look_up() {
        let proxy: Proxy = "socks5://127.0.0.1:9050".parse().unwrap();
        for address in ["192.0.2.7:4040", "localhost:4040", "desk.invalid:1", "x.onion:1"] {
            let only = vec![Road::Through(proxy, address.to_owned())];
            // A look-up that failed would have left a word.
            assert_eq!(roads_to(address, Ways::Only(proxy)), (only, Vec::new()), "{address}");
        }
        let straight = Road::Straight("192.0.2.7:1".parse().unwrap(), Look::Veiled);
        assert_eq!(roads_to("192.0.2.7:1", Ways::Straight).0, std::slice::from_ref(&straight));
        let through = Road::Through(proxy, "192.0.2.7:1".to_owned());
        assert_eq!(roads_to("192.0.2.7:1", Ways::StraightThen(proxy)).0, [straight, through]);
    }

    #[test]
    fn quic_shows_itself_only_where_the_address_says_so() {
        let (found, _) = roads_to("quic://192.0.2.7:1", Ways::Straight);
        assert_eq!(found, [Road::Straight("192.0.2.7:1".parse().unwrap(), Look::Unveiled)]);
        let proxy: Proxy = "socks5://127.0.0.1:9050".parse().unwrap();
        let through = Road::Through(proxy, "desk.invalid:1".to_owned());
        assert_eq!(roads_to("quic://desk.invalid:1", Ways::Only(proxy)).0, [through]);
        assert!(roads_to("quic://x.onion:1", Ways::Straight).1[0].why.contains("Tor"));
    }

    #[test]
    fn where_the_address_says_so_nothing_straight_goes_but_the_veil() {
        let (found, _) = roads_to("veil://192.0.2.7:1", Ways::Straight);
        assert_eq!(found, [Road::Straight("192.0.2.7:1".parse().unwrap(), Look::OnlyVeiled)]);
        // Not even when QUIC went silent.
        assert_eq!(found[0].by_tcp(), None);
        let target = "192.0.2.7:1".parse().unwrap();
        for look in [Look::Veiled, Look::Unveiled] {
            assert_eq!(Road::Straight(target, look).by_tcp(), Some(Road::StraightTcp(target, look)));
        }
        assert!(!Look::OnlyVeiled.has_tcp() && Look::Veiled.has_tcp() && Look::Unveiled.has_tcp());
        // Behind a proxy this network sees the proxy.
        let proxy: Proxy = "socks5://127.0.0.1:9050".parse().unwrap();
        let through = Road::Through(proxy, "desk.invalid:1".to_owned());
        assert_eq!(roads_to("veil://desk.invalid:1", Ways::Only(proxy)).0, [through]);
    }

    #[test]
    fn an_onion_is_for_the_proxy_alone() {
        let proxy: Proxy = "socks5://127.0.0.1:9050".parse().unwrap();
        let (found, tried) = roads_to("abc.OnIon.:1", Ways::Straight);
        assert!(found.is_empty() && tried[0].why.contains("Tor"), "{tried:?}");
        let (found, tried) = roads_to("abc.onion:1", Ways::StraightThen(proxy));
        assert_eq!((found.len(), tried.len()), (1, 0));
    }

    #[test]
    fn one_reason_stands_alone_and_several_name_their_ways() {
        let tried = |way, why: &str| Tried { way, why: why.to_owned() };
        assert_eq!(in_words(&[tried(Some(Way::Quic), "no"), tried(Some(Way::Quic), "no")]), "no");
        assert_eq!(
            in_words(&[tried(Some(Way::Quic), "a"), tried(Some(Way::Tcp), "b"), tried(None, "c")]),
            "by UDP: a; by TCP: b; c"
        );
    }
}
