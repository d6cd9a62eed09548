//! The engine: phases, and who is asked what. What the caller answers is in `answers`, what two that
//! stay together need beside in `staying`. It is one file because every frame is judged by what
//! was said before it in either direction.

mod answers;
mod comparing;
mod movement;
mod rounds;
mod staying;

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::check::{Check, Claim, Verdict};
use super::error::{Fault, SessionError};
use super::frame::{Frame, HEADER_LEN};
use super::hello::{Hello, PREFIX_LEN, TransportSecret};
use super::incoming::Incoming;
use super::lacks::Lacks;
use super::limits::{
    CONTROL_BYTES_MAX, FEATURE_DECLINE, FEATURE_DROPPED, FEATURE_LIVE, FEATURE_PADDING, FEATURE_RECONCILE,
    FEATURES, FRAME_MAX, VERSION,
};
use super::outgoing::{Act, Outgoing, Settled};
use super::padding::Padding;
use super::reconcile::Reconcile;
use super::walks::Walks;
use super::{Event, Limits, Output, Peer, Setup, Side, Summary};
use rounds::Rounds;

/// Events that may wait for the caller before input is held back.
const EVENTS_MAX: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing of the peer was opened yet.
    Hello,
    /// The peer is known; its `Since` is awaited.
    Since,
    Transfer,
    Finished,
}

/// One session with one peer. See the [module](super) for the loop that drives it.
pub struct Engine {
    setup: Setup,
    features: u32,
    phase: Phase,
    failed: Option<SessionError>,
    peer: Option<Peer>,
    limits: Limits,
    input: BytesMut,
    /// Hello, answers and acknowledgements.
    control: VecDeque<Bytes>,
    control_bytes: usize,
    events: VecDeque<Event>,
    /// A server's hello, which waits for what the store knows: under which secret, and whether the peer is limited.
    owed_hello: Option<(TransportSecret, bool)>,
    totals_asked: bool,
    cursor_wanted: bool,
    cursor_asked: bool,
    snapshot_asked: bool,
    outgoing: Option<Outgoing>,
    /// What this side's store says that the peer lacks.
    recorded: Option<Lacks>,
    /// Entries that the peer did not give.
    gone_at_peer: u64,
    /// What this side wrote goes before what it carries.
    own_first: bool,
    /// After which position of its order this side sends.
    since: u64,
    incoming: Incoming,
    check: Check,
    /// How many ids this side's last claim counted.
    claimed: u64,
    reconcile: Option<Reconcile>,
    walks: Walks,
    known_asked: bool,
    end: Option<Summary>,
    rounds: Rounds,
    padding: Padding,
    /// Something of the transfer was polled.
    begun: bool,
    /// What is said goes together with the `Done` that follows: see [`Engine::gathers`].
    gathering: bool,
    /// Both sides stay after a verdict.
    live: bool,
    /// Something was sent, offered or heard since the last verdict.
    moved: bool,
    /// Something arrived in the depot, and the sending half does not know yet.
    woken: bool,
    leaving: bool,
}

impl Engine {
    /// Begins a session on a connection whose handshake is done. The client's hello is ready to be sent;
    /// the server says nothing before it has opened the client's.
    ///
    /// # Errors
    /// [`SessionError::Misused`] when there is no transport secret.
    pub fn new(setup: Setup) -> Result<Self, SessionError> {
        Self::with_features(setup, FEATURES)
    }

    /// As [`Engine::new`], with these optional parts of the protocol and no others. What a program of an
    /// earlier version does is `with_features(setup, 0)`.
    ///
    /// # Errors
    /// As [`Engine::new`].
    pub fn with_features(setup: Setup, features: u32) -> Result<Self, SessionError> {
        let newest = setup.secrets.first().ok_or(SessionError::Misused("no transport secret"))?.clone();
        let mut engine = Self {
            setup,
            features: features & (FEATURES | FEATURE_LIVE | FEATURE_PADDING),
            phase: Phase::Hello,
            failed: None,
            peer: None,
            limits: Limits::default(),
            input: BytesMut::new(),
            control: VecDeque::new(),
            control_bytes: 0,
            events: VecDeque::new(),
            owed_hello: None,
            totals_asked: false,
            cursor_wanted: false,
            cursor_asked: false,
            snapshot_asked: false,
            outgoing: None,
            recorded: None,
            gone_at_peer: 0,
            own_first: false,
            since: 0,
            incoming: Incoming::default(),
            check: Check::default(),
            claimed: 0,
            reconcile: None,
            walks: Walks::default(),
            known_asked: false,
            end: None,
            rounds: Rounds::default(),
            padding: Padding::default(),
            begun: false,
            gathering: false,
            live: false,
            moved: false,
            woken: false,
            leaving: false,
        };
        if engine.setup.side == Side::Client {
            // A server answers under the secret that opened the client's hello.
            engine.setup.secrets.truncate(1);
            let Setup { known, head, .. } = engine.setup;
            engine.say_hello(&newest, known, head);
        }
        Ok(engine)
    }

    /// Takes bytes from the peer, in order. Call it while [`Engine::wants_input`], with at most some
    /// hundred KiB at a time; what they mean shows in [`Engine::poll`].
    pub fn receive(&mut self, bytes: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        self.input.extend_from_slice(bytes);
    }

    /// The peer sends no more: an error unless the session was at its end.
    ///
    /// # Errors
    /// [`SessionError::Cut`], or what failed before.
    pub fn closed(&mut self) -> Result<(), SessionError> {
        match (&self.failed, self.phase) {
            (Some(error), _) => Err(*error),
            (None, Phase::Finished) => Ok(()),
            (None, _) if self.is_at_rest() => {
                self.padding.cancel();
                self.phase = Phase::Finished;
                Ok(())
            }
            (None, _) => Err(self.fail(SessionError::Cut)),
        }
    }

    /// Whether more bytes may be passed in. While it is false the peer is held back by the transport.
    pub fn wants_input(&self) -> bool {
        self.failed.is_none() && self.input.len() < HEADER_LEN + FRAME_MAX && self.has_room()
    }

    /// Both sides are done, and everything that this side had to say was polled.
    pub fn is_finished(&self) -> bool {
        self.phase == Phase::Finished
            && self.control.is_empty()
            && self.events.is_empty()
            && !self.padding.owes()
    }

    /// The session is over, and the other side ends its half first: whoever was dialled hears all of the padding
    /// before it ends its own.
    pub fn hears_out(&self) -> bool {
        self.setup.side == Side::Server && self.is_padded() && self.is_finished()
    }

    /// Both sides pad, and the session ends when both are in step: how long something takes is not to show.
    pub fn is_padded(&self) -> bool {
        self.padding.is_on() && !self.live
    }

    /// What was moved so far.
    pub fn summary(&self) -> Summary {
        let outgoing = self.outgoing.as_ref();
        let declined = self.incoming.declined();
        let declined_by_peer = outgoing.map(Outgoing::declined).unwrap_or_default();
        let agreed = self.end.is_some_and(|end| end.in_step);
        let but_for_declined = declined.total() + declined_by_peer.total() > 0;
        Summary {
            in_step: agreed && !but_for_declined,
            in_step_but_for_declined: agreed && but_for_declined,
            gone_at_peer: self.gone_at_peer,
            declined,
            declined_by_peer,
            declined_by_peer_bytes: outgoing.map(Outgoing::declined_bytes).unwrap_or_default(),
            compared: self.end.is_some_and(|end| end.compared),
            limits: self.limits,
            sent: outgoing.map_or(0, Outgoing::sent),
            sent_bytes: outgoing.map_or(0, Outgoing::sent_bytes),
            refused_by_peer: outgoing.map_or(0, Outgoing::refused),
            received: self.incoming.received(),
            received_bytes: self.incoming.received_bytes(),
            refused: self.incoming.refused(),
            padding: self.padding.padded(),
            round_trips: self.rounds.now,
        }
    }

    /// Which side this is.
    pub const fn side(&self) -> Side {
        self.setup.side
    }

    /// Who the peer is, once its certificate was judged.
    pub const fn peer(&self) -> Option<&Peer> {
        self.peer.as_ref()
    }

    /// The next thing for the caller to do; [`Output::Send`] only if `can_send`.
    ///
    /// # Errors
    /// The session has failed; every later call says the same. The caller closes the connection, on
    /// the server's side without a word.
    pub fn poll(&mut self, can_send: bool) -> Result<Option<Output>, SessionError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.advance().map_err(|error| self.fail(error))?;
        let output = self.next_output(can_send);
        if let Some(Output::Send(bytes)) = &output {
            self.padding.said(bytes);
        }
        Ok(output)
    }

    /// Whether both sides speak this optional part, once the peer is known.
    const fn has(&self, feature: u32) -> bool {
        self.features & feature != 0
    }

    fn fail(&mut self, error: SessionError) -> SessionError {
        self.failed = Some(error);
        self.input = BytesMut::new();
        error
    }

    fn has_room(&self) -> bool {
        self.incoming.has_room() && self.control_bytes < CONTROL_BYTES_MAX && self.events.len() < EVENTS_MAX
    }

    /// Works off the input as far as there is room for what follows from it. The verdict comes between
    /// any two frames: after it the peer may already be repairing.
    fn advance(&mut self) -> Result<(), SessionError> {
        self.follow_store();
        self.judge();
        self.follow_depot();
        self.bounds_walks()?;
        while self.has_room() && self.phase != Phase::Finished {
            if self.phase == Phase::Hello {
                let Some(sealed) = self.take_hello()? else { break };
                self.meet(&sealed)?;
            } else {
                // Our Since goes out before any answer to the peer's transfer.
                if self.cursor_wanted || self.cursor_asked {
                    break;
                }
                let before = self.input.len();
                let Some(frame) = Frame::take(&mut self.input)? else { break };
                self.padding.heard(before - self.input.len(), &frame)?;
                self.handle(frame)?;
                self.follow_store();
                self.judge();
            }
        }
        Ok(())
    }

    fn take_hello(&mut self) -> Result<Option<BytesMut>, SessionError> {
        let Some(prefix) = self.input.first_chunk::<PREFIX_LEN>() else { return Ok(None) };
        let len = PREFIX_LEN + Hello::boxed_len(*prefix).ok_or(SessionError::NotOfTheTeam)?;
        Ok((self.input.len() >= len).then(|| self.input.split_to(len)))
    }

    /// Opens and judges the peer's hello. Until this has succeeded a server has sent nothing.
    fn meet(&mut self, sealed: &[u8]) -> Result<(), SessionError> {
        let setup = &self.setup;
        let (at, hello) = Hello::open(sealed, &setup.secrets, setup.side.other(), &setup.binding)
            .ok_or(SessionError::NotOfTheTeam)?;
        let device =
            setup.authority.judge(&hello.certificate, setup.now).map_err(SessionError::Certificate)?;
        if device.body().keys.transport != setup.peer_transport_key {
            return Err(SessionError::WrongTransportKey);
        }
        if hello.version < VERSION {
            return Err(SessionError::Version { theirs: hello.version });
        }
        let secret = setup.secrets[at].clone();
        // By the clock that says that ours has run out as well, nobody is judged: it is wrong, or we are
        // the ones who come late.
        let limited = device.expired() && setup.now <= setup.certificate.body().not_after;
        match setup.side {
            Side::Client => self.rounds.now = 1,
            // What is known here nobody asks the store before it is known for whom.
            Side::Server => self.owed_hello = Some((secret.clone(), limited)),
        }
        self.features &= hello.features;
        if !self.has(FEATURE_RECONCILE) {
            // Only the comparison finds again what was declined.
            self.features &= !FEATURE_DECLINE;
        }
        if !self.has(FEATURE_DECLINE) {
            self.features &= !FEATURE_DROPPED;
        }
        if self.has(FEATURE_PADDING) {
            self.padding.begin();
        }
        self.incoming =
            Incoming::new(hello.known, self.has(FEATURE_DECLINE)).telling_dropped(self.has(FEATURE_DROPPED));
        let peer = Peer {
            device,
            certificate: hello.certificate,
            depot: hello.depot,
            known: hello.known,
            head: hello.head,
            epoch: secret.epoch,
        };
        self.peer = Some(peer.clone());
        self.events.push_back(Event::Met(Box::new(peer)));
        if limited {
            self.limits.peer = true;
            self.limit();
            if self.owed_hello.is_none() {
                self.say(Frame::Limited.encode().into());
            }
        }
        self.cursor_wanted = true;
        self.phase = Phase::Since;
        Ok(())
    }

    fn limit(&mut self) {
        self.check.give_up();
        self.events.push_back(Event::Limited(self.limits));
    }

    fn say_hello(&mut self, secret: &TransportSecret, known: u64, head: u64) {
        let setup = &self.setup;
        let hello = Hello {
            version: VERSION,
            features: self.features,
            depot: setup.depot,
            known,
            head,
            certificate: setup.certificate.clone(),
        };
        let sealed = hello.seal(secret, setup.side, &setup.binding);
        self.say(sealed.into());
    }

    fn say(&mut self, bytes: Bytes) {
        self.control_bytes += bytes.len();
        self.control.push_back(bytes);
    }

    fn handle(&mut self, frame: Frame) -> Result<(), SessionError> {
        match (self.phase, frame) {
            (Phase::Since, Frame::Since { position }) => {
                let peer = self.peer.as_ref().ok_or(SessionError::Misused("no peer"))?;
                let (device, head) = (peer.device.id(), self.setup.head);
                let outgoing = if self.limits.peer {
                    Outgoing::limited(device, position, head)
                } else {
                    Outgoing::new(device, peer.known, position, head).with_lacks(self.recorded.take())
                };
                self.since = outgoing.covered().min(position);
                let outgoing = outgoing.telling_sizes(self.has(FEATURE_DECLINE));
                let outgoing = outgoing.told_dropped(self.has(FEATURE_DROPPED));
                self.outgoing = Some(outgoing.own_first(self.own_first));
                self.phase = Phase::Transfer;
                // A server's hello is answered by this; a client's was by the hello.
                self.rounds.now = 1;
                Ok(())
            }
            (Phase::Since, Frame::Limited) if !self.limits.us => {
                self.limits.us = true;
                self.incoming.limit();
                self.limit();
                Ok(())
            }
            (Phase::Transfer, frame) => self.transfer(frame),
            _ => Err(Fault::OutOfPhase.into()),
        }
    }

    fn transfer(&mut self, frame: Frame) -> Result<(), SessionError> {
        let declines = self.has(FEATURE_DECLINE);
        let may_decline = || if declines { Ok(()) } else { Err(Fault::OutOfPhase) };
        let outgoing = self.outgoing.as_mut().ok_or(SessionError::Misused("no transfer"))?;
        match frame {
            Frame::Since { .. } | Frame::Limited => return Err(Fault::OutOfPhase.into()),
            Frame::Entries(entries) => {
                self.moved = true;
                self.check.entry_came();
                self.incoming.entries(entries, &mut self.events)?;
            }
            Frame::Offer(ids) => {
                self.moved = true;
                self.check.peer_goes_on();
                self.incoming.offer(ids, Vec::new())?;
            }
            Frame::SizedOffer(offered) => {
                may_decline()?;
                self.moved = true;
                self.check.peer_goes_on();
                let (ids, sizes) = offered.into_iter().unzip();
                self.incoming.offer(ids, sizes)?;
            }
            Frame::Want(wanted) => {
                outgoing.want(&wanted, &[], &mut self.events)?;
                self.rounds.wanted();
            }
            Frame::Answer { wanted, declined } => {
                may_decline()?;
                outgoing.want(&wanted, &declined, &mut self.events)?;
                self.rounds.wanted();
            }
            Frame::Gone(ids) => {
                self.incoming.gone(&ids)?;
                self.gone_at_peer += ids.len() as u64;
                self.events.push_back(Event::GoneAtPeer(ids.len() as u64));
                if self.has(FEATURE_RECONCILE) {
                    self.incoming.past(ids)?;
                }
            }
            Frame::Past(ids) => {
                if self.reconcile.is_none() || self.incoming.is_ended() {
                    return Err(Fault::OutOfPhase.into());
                }
                self.incoming.past(ids)?;
            }
            Frame::Compare(comparison) => {
                self.reconcile.as_mut().ok_or(Fault::OutOfPhase)?.hear(comparison)?;
                if let Some(asked) = self.rounds.compare {
                    self.rounds.answered(asked);
                }
            }
            Frame::Ping { answer } => {
                if !self.live {
                    return Err(Fault::OutOfPhase.into());
                }
                if !answer {
                    self.say_ping(true);
                }
            }
            Frame::Pad { .. } => {}
            Frame::Ack { count, refused } => outgoing.ack(count, &refused, &[], &mut self.events)?,
            Frame::Settled { count, refused, declined } => {
                may_decline()?;
                outgoing.ack(count, &refused, &declined, &mut self.events)?;
            }
            Frame::Mark { position, end } => {
                if end && self.reconcile.as_ref().is_some_and(Reconcile::is_running) {
                    return Err(Fault::OutOfPhase.into());
                }
                self.incoming.mark(position, end)?;
            }
            Frame::Done { received, fingerprint, busy } => {
                if received > outgoing.sent() || !self.incoming.is_ended() {
                    return Err(Fault::OutOfPhase.into());
                }
                if received == outgoing.sent() {
                    self.rounds.answered(self.rounds.mark);
                }
                // Whatever moved it to speak, it waits for ours.
                self.moved = true;
                self.check.heard(Claim { received, fingerprint, busy });
            }
        }
        Ok(())
    }

    /// What follows when entries became durable, here or there.
    fn follow_store(&mut self) {
        if let Some(ack) = self.incoming.take_ack(self.has(FEATURE_DECLINE)) {
            self.say(ack.encode().into());
        }
        self.note_cursor(false);
        let Some(outgoing) = &mut self.outgoing else { return };
        let not_given = outgoing.take_not_given();
        if !not_given.is_empty() {
            self.events.push_back(Event::NotGiven(not_given));
        }
        if let Some(Settled { holds, settled }) = outgoing.peer_holds() {
            // What lies before was settled in an earlier session, or was declined or lost in one.
            self.events.push_back(Event::PeerHolds { after: self.since, position: holds, settled });
        }
    }

    fn note_cursor(&mut self, checked: bool) {
        // A peer that does not tell us everything says nothing of its order that we could go by.
        let cursor = self.incoming.take_cursor(checked).filter(|_| !self.limits.us);
        if let (Some(position), Some(peer)) = (cursor, &self.peer) {
            // Of several that nobody has looked at the last says it all.
            if let Some(Event::CursorAdvanced { .. }) = self.events.back() {
                self.events.pop_back();
            }
            self.events.push_back(Event::CursorAdvanced { depot: peer.depot, position });
        }
    }

    fn judge(&mut self) {
        let reconciles = self.has(FEATURE_RECONCILE);
        // Nobody is pushed what is not for it.
        let live = self.has(FEATURE_LIVE) && self.limits == Limits::default();
        let Some(outgoing) = self.outgoing.as_mut().filter(|_| self.phase == Phase::Transfer) else { return };
        match self.check.verdict(outgoing.sent()) {
            None => {}
            Some(Verdict::Repair) => {
                self.walks.begin(self.claimed, self.incoming.brought() + outgoing.acked());
                self.padding.cancel();
                if reconciles {
                    outgoing.differences();
                    let begins = self.setup.side == Side::Client;
                    self.reconcile = Some(Reconcile::new(begins, self.claimed, self.walks));
                } else {
                    outgoing.repair();
                    self.walks.spend(self.claimed);
                }
                self.incoming.reopen();
                self.events.push_back(Event::Repairing);
            }
            Some(verdict) => {
                if verdict == Verdict::StillDifferent {
                    self.events.push_back(Event::StillDifferent);
                }
                if verdict == Verdict::InStep
                    && let Some(Settled { holds, settled }) = outgoing.holds_all()
                {
                    // A fingerprint alone proves nothing of what was not sent: whoever waits for ours can repeat it.
                    self.events.push_back(Event::PeerHolds { after: self.since, position: holds, settled });
                }
                self.end = Some(Summary {
                    in_step: verdict == Verdict::InStep,
                    compared: verdict != Verdict::NotCompared,
                    ..Summary::default()
                });
                if live {
                    outgoing.rest();
                    self.incoming.rest();
                    self.check.rest(verdict == Verdict::StillDifferent);
                    self.walks = self.reconcile.take().map_or(self.walks, |done| done.walks());
                    self.live = true;
                    self.moved = false;
                    self.events.push_back(Event::AtRest { agreed: verdict == Verdict::InStep });
                } else {
                    self.phase = Phase::Finished;
                }
                self.note_cursor(true);
            }
        }
    }

    fn next_output(&mut self, can_send: bool) -> Option<Output> {
        if let Some(event) = self.events.pop_front() {
            return Some(Output::Event(event));
        }
        if self.owed_hello.is_some() {
            let asked = std::mem::replace(&mut self.totals_asked, true);
            return (!asked).then_some(Output::ReadTotals);
        }
        if let Some(peer) = self.peer.as_ref().filter(|_| self.cursor_wanted) {
            self.cursor_wanted = false;
            self.cursor_asked = true;
            return Some(Output::ReadCursor { depot: peer.depot });
        }
        if let Some(batch) = self.incoming.next_batch() {
            return Some(Output::Store(batch));
        }
        if let Some(peer) = &self.peer
            && let Some(ids) = self.incoming.next_past()
        {
            return Some(Output::NotePast { peer: peer.depot(), ids });
        }
        if let Some((ids, sizes)) = self.incoming.next_check() {
            return Some(Output::FindUnknown { ids, sizes });
        }
        if self.padding.is_on() && self.wants_snapshot() {
            // The acknowledgement goes with the `Done`: alone it would show on the line that something came.
            return Some(self.ask_snapshot());
        }
        self.gathering &= self.gathers();
        let held = self.gathering || self.padding.is_on() && self.snapshot_asked;
        if can_send
            && !held
            && let Some(bytes) = self.control.pop_front()
        {
            self.control_bytes -= bytes.len();
            return Some(Output::Send(bytes));
        }
        if can_send
            && self.control.is_empty()
            && let Some(bytes) = self.padding.take()
        {
            return Some(Output::Send(bytes));
        }
        // Hello and Since stand before anything of the transfer.
        let waits = !self.control.is_empty() && !self.gathering;
        if self.phase != Phase::Transfer || self.cursor_asked || waits {
            return None;
        }
        if let Some(output) = self.compare_on(can_send) {
            return Some(output);
        }
        let outgoing = self.outgoing.as_mut()?;
        match outgoing.poll(can_send) {
            Some(Act::Send(bytes)) => {
                (self.begun, self.moved) = (true, true);
                return Some(self.after_what_was_held(bytes));
            }
            Some(Act::SendOffer(bytes)) => {
                (self.begun, self.moved) = (true, true);
                self.rounds.offers.push_back(self.rounds.now);
                return Some(self.after_what_was_held(bytes));
            }
            Some(Act::SendMark(bytes)) => {
                self.begun = true;
                self.rounds.mark = self.rounds.now;
                if outgoing.end_marked() {
                    self.padding.entries_ended();
                }
                if self.gathering {
                    self.say(bytes);
                    return self.next_output(can_send);
                }
                return Some(Output::Send(bytes));
            }
            Some(Act::ReadArrivals { after, max_entries }) => {
                return Some(Output::ReadArrivals { after, max_entries });
            }
            Some(Act::ReadAddressed) => {
                return self.peer.as_ref().map(|peer| Output::ReadAddressed { device: peer.device.id() });
            }
            Some(Act::ReadEntries(ids)) => return Some(Output::ReadEntries { ids }),
            // It waits for the other side, which may wait for what is held.
            None if can_send && self.gathering && !outgoing.end_marked() && !outgoing.awaits_store() => {
                self.gathering = false;
                return self.next_output(can_send);
            }
            None => {}
        }
        self.wants_snapshot().then(|| self.ask_snapshot())
    }

    /// Whether an acknowledgement, and the mark for what it acknowledges, still wait for the `Done`: alone, each in a
    /// record of its own, they would show on the line that something came. Not if the other side has more to say.
    fn gathers(&self) -> bool {
        let one_thing = self.phase == Phase::Transfer && self.reconcile.is_none() && !self.check.has_spoken();
        one_thing && self.incoming.is_over()
    }

    /// There is more to send than marks: what was held goes first.
    fn after_what_was_held(&mut self, bytes: Bytes) -> Output {
        if !std::mem::take(&mut self.gathering) {
            return Output::Send(bytes);
        }
        self.say(bytes);
        let first = self.control.pop_front().unwrap_or_default();
        self.control_bytes -= first.len();
        Output::Send(first)
    }

    /// Everything is settled, and this side has to say what it knows now.
    fn wants_snapshot(&self) -> bool {
        let due = (!self.live || self.moved) && self.phase == Phase::Transfer && !self.cursor_asked;
        let ended = self.outgoing.as_ref().is_some_and(Outgoing::end_marked);
        due && ended && self.incoming.is_over() && !self.check.has_spoken() && !self.snapshot_asked
    }

    fn ask_snapshot(&mut self) -> Output {
        self.snapshot_asked = true;
        let past = self.peer.as_ref().filter(|_| self.has(FEATURE_RECONCILE)).map(Peer::depot);
        Output::TakeSnapshot { past }
    }
}
