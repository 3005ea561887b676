//! What clients may hold at one time: each for itself, and all of a kind together.
//!
//! Clients that show a key and those that don't have budgets apart: what strangers hold is never
//! missing to a customer.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use metrics::{counter, gauge};

use crate::auth::{Caller, Principal};
use crate::failure::{Code, Failure};
use crate::metrics::{BUDGET_HELD, BUDGET_REFUSED_TOTAL};
use crate::rate::network;

/// Whom something is counted for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Client {
    /// All clients of an address (an IPv6 /64) that showed no key.
    Stranger(IpAddr),
    Caller(Principal),
}

impl Client {
    pub fn of(address: IpAddr, caller: &Caller) -> Self {
        match caller {
            None => Self::Stranger(network(address)),
            Some(principal) => Self::Caller(principal.clone()),
        }
    }

    fn is_stranger(&self) -> bool {
        matches!(self, Self::Stranger(_))
    }
}

/// The most that one client holds, and that all of its kind hold together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// 0 for no limit.
    pub each: usize,
    pub all: usize,
}

/// Counts what clients hold of one thing. It has an entry for each client that holds something.
#[derive(Debug)]
pub(crate) struct Budget {
    name: &'static str,
    strangers: Bounds,
    /// An operator is only bounded by what all callers hold.
    callers: Bounds,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    by_client: HashMap<Client, usize>,
    by_strangers: usize,
    by_callers: usize,
}

/// What one client holds; given back when dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    budget: Arc<Budget>,
    client: Client,
    amount: usize,
}

/// Why a client can't hold more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exhausted {
    /// It holds as much as one client may.
    Own,
    /// All of its kind hold as much as they may.
    All,
}

impl Budget {
    /// `name` is its label in the metrics.
    pub fn new(name: &'static str, strangers: Bounds, callers: Bounds) -> Arc<Self> {
        Arc::new(Self { name, strangers, callers, held: Mutex::default() })
    }

    /// Holds `amount` for `client`.
    pub fn hold(self: &Arc<Self>, client: Client, amount: usize) -> Result<Hold, Exhausted> {
        let mut hold = Hold { budget: self.clone(), client, amount: 0 };
        hold.grow_to(amount)?;
        Ok(hold)
    }

    fn take(&self, client: &Client, more: usize) -> Result<(), Exhausted> {
        let bounds = if client.is_stranger() { self.strangers } else { self.callers };
        let is_bounded = bounds.each > 0 && *client != Client::Caller(Principal::Operator);
        let mut held = self.lock();
        let all = held.total(client);
        if *all + more > bounds.all {
            return Err(Exhausted::All);
        }
        let own = held.by_client.get(client).copied().unwrap_or(0);
        if is_bounded && own + more > bounds.each {
            return Err(Exhausted::Own);
        }
        held.by_client.insert(client.clone(), own + more);
        *held.total(client) += more;
        Ok(())
    }

    fn give_back(&self, client: &Client, amount: usize) {
        let mut held = self.lock();
        *held.total(client) -= amount;
        if let Some(own) = held.by_client.get_mut(client) {
            *own -= amount;
            if *own == 0 {
                held.by_client.remove(client);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Held {
    fn total(&mut self, client: &Client) -> &mut usize {
        if client.is_stranger() { &mut self.by_strangers } else { &mut self.by_callers }
    }
}

impl Hold {
    /// Holds at least `amount`, or as much as before.
    pub fn grow_to(&mut self, amount: usize) -> Result<(), Exhausted> {
        let more = amount.saturating_sub(self.amount);
        if more == 0 {
            return Ok(());
        }
        let budget = &self.budget;
        if let Err(exhausted) = budget.take(&self.client, more) {
            let labels = [("budget", budget.name), ("scope", exhausted.scope())];
            counter!(BUDGET_REFUSED_TOTAL, &labels).increment(1);
            return Err(exhausted);
        }
        gauge!(BUDGET_HELD, "budget" => budget.name).increment(more as f64);
        self.amount += more;
        Ok(())
    }

    /// Gives all of it back, to grow again.
    pub fn clear(&mut self) {
        let amount = std::mem::take(&mut self.amount);
        if amount > 0 {
            self.budget.give_back(&self.client, amount);
            gauge!(BUDGET_HELD, "budget" => self.budget.name).decrement(amount as f64);
        }
    }

    /// Counts it for another client from now on.
    pub fn move_to(&mut self, client: Client) -> Result<(), Exhausted> {
        let mut moved = Self { budget: self.budget.clone(), client, amount: 0 };
        moved.grow_to(self.amount)?;
        *self = moved;
        Ok(())
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Exhausted {
    fn scope(self) -> &'static str {
        match self {
            Self::Own => "client",
            Self::All => "all",
        }
    }

    /// The failure, with a message for either case.
    pub fn failure(self, own: &'static str, all: &'static str) -> Failure {
        match self {
            Self::Own => Failure { retry_after: Some(1), ..Failure::new(Code::RateLimited, own) },
            Self::All => Failure::new(Code::Overloaded, all),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stranger(text: &str) -> Client {
        Client::of(text.parse().unwrap(), &None)
    }

    fn customer(name: &str) -> Client {
        Client::Caller(Principal::Customer(name.into()))
    }

    fn budget() -> Arc<Budget> {
        Budget::new("test", Bounds { each: 2, all: 3 }, Bounds { each: 4, all: 6 })
    }

    #[test]
    fn each_client_has_its_own_and_all_have_a_bound() {
        let budget = budget();
        let hold = |client: Client, amount| budget.hold(client, amount).map_err(|why| why.scope());
        let one = hold(stranger("192.0.2.1"), 2).unwrap();
        assert_eq!(hold(stranger("::ffff:192.0.2.1"), 1).err(), Some("client"));
        let _two = hold(stranger("192.0.2.2"), 1).unwrap();
        assert_eq!(hold(stranger("192.0.2.3"), 1).err(), Some("all"));
        let _ana = hold(customer("ana"), 4).unwrap();
        assert_eq!(hold(customer("ana"), 1).err(), Some("client"), "strangers take nothing of it");
        let operator = || Client::Caller(Principal::Operator);
        assert_eq!(hold(operator(), 3).err(), Some("all"));
        let _operator = hold(operator(), 2).unwrap();
        drop(one);
        assert!(hold(stranger("192.0.2.3"), 2).is_ok());
    }

    #[test]
    fn a_hold_grows_moves_and_leaves_nothing_behind() {
        let budget = budget();
        let mut hold = budget.hold(stranger("192.0.2.1"), 1).unwrap();
        assert_eq!(hold.grow_to(2), Ok(()));
        assert_eq!(hold.grow_to(1), Ok(()), "it has more");
        assert_eq!(hold.grow_to(3), Err(Exhausted::Own));
        hold.move_to(customer("ana")).unwrap();
        assert!(budget.hold(stranger("192.0.2.1"), 2).is_ok());
        assert_eq!(hold.grow_to(5), Err(Exhausted::Own));
        let full = budget.hold(customer("bob"), 4).unwrap();
        hold.clear();
        assert!(
            budget.hold(customer("ana"), 3).is_err() && budget.hold(customer("ana"), 2).is_ok()
        );
        drop((full, hold));
        let held = budget.lock();
        assert!(held.by_client.is_empty());
        assert_eq!((held.by_strangers, held.by_callers), (0, 0));
    }

    #[test]
    fn without_a_limit_one_client_holds_what_all_may() {
        let bounds = Bounds { each: 0, all: 100 };
        let budget = Budget::new("test", bounds, bounds);
        assert!(budget.hold(stranger("192.0.2.1"), 100).is_ok());
        assert_eq!(budget.hold(customer("ana"), 101).err(), Some(Exhausted::All));
    }
}
