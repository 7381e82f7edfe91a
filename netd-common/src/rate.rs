//! How often something may happen.

use crate::abi::Rate;

/// Span of time, nanoseconds.
pub const SPAN: u64 = 100_000_000;

impl Rate {
    /// Whether it may happen once more at `now` (CLOCK_MONOTONIC, nanoseconds), with `most` in each [`SPAN`]; it counts.
    #[inline(always)]
    pub fn take(&mut self, now: u64, most: u32) -> bool {
        if now.wrapping_sub(self.began) >= SPAN {
            self.began = now;
            self.used = 0;
        }
        if self.used >= most {
            self.left_out = self.left_out.saturating_add(1);
            return false;
        }
        self.used += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_in_each_span() {
        let mut rate = Rate::default();
        let took = |rate: &mut Rate, now| (0..5).filter(|_| rate.take(now, 3)).count();
        assert_eq!(took(&mut rate, SPAN), 3);
        assert_eq!(took(&mut rate, 2 * SPAN - 1), 0);
        assert_eq!(took(&mut rate, 2 * SPAN), 3);
        assert_eq!(rate.left_out, 9);
    }
}
