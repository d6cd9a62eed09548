//! What sessions of one process tell each other: that something arrived, that it is time to leave, and that
//! connections are to be made anew.

use std::sync::Arc;

use tokio::sync::watch;

/// Where sessions listen. News that come faster than somebody hears them are heard once.
#[derive(Debug)]
pub struct Hub {
    news: watch::Sender<u64>,
    leave: watch::Sender<u64>,
    renew: watch::Sender<u64>,
    hurry: watch::Sender<u64>,
}

impl Default for Hub {
    fn default() -> Self {
        let sender = || watch::channel(0).0;
        Self { news: sender(), leave: sender(), renew: sender(), hurry: sender() }
    }
}

impl Hub {
    /// Something new lies in the depot.
    pub fn news(&self) {
        self.news.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Sessions end as soon as nothing is under way.
    pub fn leave(&self) {
        self.leave.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Whoever waits before it dials again waits no longer.
    pub fn hurry(&self) {
        self.hurry.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Whoever dials makes its connections anew, and waits no longer.
    pub fn renew(&self) {
        self.renew.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// To hear what is said from now on.
    pub fn signals(self: &Arc<Self>) -> Signals {
        Signals {
            news: self.news.subscribe(),
            leave: self.leave.subscribe(),
            renew: self.renew.subscribe(),
            hurry: self.hurry.subscribe(),
            hub: self.clone(),
        }
    }
}

/// One that listens.
#[derive(Debug, Clone)]
pub struct Signals {
    hub: Arc<Hub>,
    news: watch::Receiver<u64>,
    leave: watch::Receiver<u64>,
    renew: watch::Receiver<u64>,
    hurry: watch::Receiver<u64>,
}

impl Signals {
    /// Tells the others that something arrived.
    pub fn tell(&self) {
        self.hub.news();
    }

    /// Something arrived.
    pub async fn news(&mut self) {
        heard(&mut self.news).await;
    }

    /// It is time to leave.
    pub async fn leave(&mut self) {
        heard(&mut self.leave).await;
    }

    /// Connections are to be made anew. What was said earlier does not count.
    pub async fn renew(&mut self) {
        self.renew.mark_unchanged();
        heard(&mut self.renew).await;
    }

    /// Somebody is waited for. What was said earlier does not count.
    pub async fn hurry(&mut self) {
        self.hurry.mark_unchanged();
        heard(&mut self.hurry).await;
    }

    /// News, or that it is time to leave: `true` for the latter.
    pub async fn news_or_leave(&mut self) -> bool {
        tokio::select! {
            biased;
            () = heard(&mut self.leave) => true,
            () = heard(&mut self.news) => false,
        }
    }
}

async fn heard(from: &mut watch::Receiver<u64>) {
    // The hub is held by whoever listens, so it is there.
    if from.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
