//! Stops a processor that fails at nearly everything: a bad deploy or a broken schema, not a few bad
//! records and not a neighbour that is away. Without it such a processor would empty its topic into the dead letters.

use std::collections::VecDeque;

/// Watches the last outcomes.
#[derive(Debug)]
pub(crate) struct Breaker {
    window: usize,
    percent: usize,
    /// Whether each of the last records became a dead letter that tells of a fault of our own.
    outcomes: VecDeque<bool>,
    dead: usize,
}

impl Breaker {
    /// Trips when at least `percent` of the last `window` records became dead letters; never with
    /// a window of 0.
    pub fn new(window: usize, percent: u8) -> Self {
        Self { window, percent: percent.into(), outcomes: VecDeque::new(), dead: 0 }
    }

    /// Takes note of a record.
    pub fn note(&mut self, dead: bool) {
        if self.window == 0 {
            return;
        }
        if self.outcomes.len() == self.window {
            self.dead -= usize::from(self.outcomes.pop_front() == Some(true));
        }
        self.outcomes.push_back(dead);
        self.dead += usize::from(dead);
    }

    /// Dead letters among the last records, once they are too many.
    pub fn tripped(&self) -> Option<usize> {
        let full = self.window > 0 && self.outcomes.len() == self.window;
        (full && self.dead * 100 >= self.percent * self.window).then_some(self.dead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_trips_on_nearly_all_and_not_on_a_few() {
        let mut breaker = Breaker::new(10, 90);
        for n in 0..9 {
            breaker.note(true);
            assert_eq!(breaker.tripped(), None, "after {n}");
        }
        breaker.note(false);
        assert_eq!(breaker.tripped(), Some(9));
        breaker.note(false);
        assert_eq!(breaker.tripped(), None);
        let mut off = Breaker::new(0, 90);
        (0..100).for_each(|_| off.note(true));
        assert_eq!(off.tripped(), None);
    }
}
