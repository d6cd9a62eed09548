//! One session with a device that was heard in this network: by QUIC behind the veil, and by no other way, for whoever is
//! at that address has not shown anything yet.
//!
//! It stays as any session of a daemon does. Of whom it was with, it writes down what one writes down that came by itself.

use std::convert::Infallible;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use fieldbook_net::gauge::Gauge;
use fieldbook_proto::session::{Event, Side};
use tokio::time::sleep;

use super::nearby::Visit;
use crate::again::Again;
use crate::connection;
use crate::counts::Counts;
use crate::dial::{self, Reached};
use crate::ending::{Why, report, who};
use crate::identity::Identity;
use crate::met::{Seen, Session};
use crate::serve::Serving;

/// After so long it is seen whether two devices have visited each other at once, or were connected before.
const SETTLE: Duration = Duration::from_secs(3);

/// Visits whoever is there.
pub(super) async fn visit(at: SocketAddrV4, serving: &Serving) -> Visit {
    let Ok(identity) = Identity::load(serving.depot.as_ref()) else { return Visit::Failed };
    let Ok(Reached { link, endpoint }) = dial::by_veil(at.into(), &identity).await else {
        return Visit::Failed;
    };
    let (way, ending, from) = (link.way, link.ending(), link.from());
    let (counts, again, gauge) =
        (Counts::among(&serving.moved), Again::default(), Arc::new(Gauge::default()));
    let mut signals = serving.hub.signals();
    let how = serving.how(None, &gauge, &counts);
    // Who it is with; the sessions with it, once it is met; and whether this device's id comes first.
    let mut met = None;
    let running = tokio::sync::watch::Sender::new(None::<(Arc<Session>, bool)>);
    again.begin();
    let mut on_event = |event: &Event| match event {
        Event::Met(peer) => {
            met = Some(who(&identity, peer));
            let first = identity.certificate.device_id() < peer.device.id();
            let seen = Seen::new(&identity, peer, None, way, gauge.clone()).at(from);
            let entered = serving.met.enter(peer.as_ref().clone(), ending.clone(), seen);
            running.send_replace(entered.map(|session| (Arc::new(session), first)));
        }
        event => again.note(event),
    };
    let (mut entered, unmet) = (running.subscribe(), running.subscribe());
    let session = connection::session(link, Side::Client, &identity, &serving.depot, how, &mut on_event);
    let twins = async {
        let entered = entered.wait_for(Option::is_some).await.map(|entered| entered.clone());
        let Ok(Some((session, first))) = entered else { return std::future::pending().await };
        sleep(SETTLE).await;
        if session.has_twin(SETTLE, !first) {
            ending.end(Why::Twin);
        }
        drop(session);
        std::future::pending::<Infallible>().await
    };
    let (_, result) = tokio::select! {
        done = session => done,
        never = twins => match never {},
        // As whoever comes by itself.
        never = serving.strangers.put_out_unless(|| unmet.borrow().is_some(), &ending) => match never {},
        never = again.renews(&mut signals, &ending) => match never {},
    };
    // It is met no more.
    drop((running, entered, unmet));
    dial::let_go(endpoint).await;
    let why = ending.why();
    let Some(who) = met else {
        serving.failed.fetch_add(1, Relaxed);
        return Visit::Failed;
    };
    if why == Some(Why::Twin) {
        return Visit::NotNeeded;
    }
    let (well, line) = report(&who, way, &counts, &result, why);
    if well { &serving.done } else { &serving.failed }.fetch_add(1, Relaxed);
    (serving.log)(&line);
    if well { Visit::Went } else { Visit::Failed }
}
