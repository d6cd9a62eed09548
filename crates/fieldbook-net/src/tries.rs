//! A budget for work that strangers can ask for: so much a second, whatever comes.

/// Tries of which so many are left in this second.
#[derive(Debug, Clone, Copy)]
pub struct Tries {
    most: u32,
    second: u64,
    left: u32,
}

impl Tries {
    /// At most so many in each second.
    pub const fn each_second(most: u32) -> Self {
        Self { most, second: 0, left: 0 }
    }

    /// Whether one more may be made at this time, in seconds of any clock; it counts then.
    pub fn may(&mut self, now_s: u64) -> bool {
        if self.second != now_s {
            (self.second, self.left) = (now_s, self.most);
        }
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }
}
