//! How much each client may ask for.
//!
//! Every GraphQL request over HTTP and every operation on a WebSocket counts as one. Of a request
//! that places several orders each further one counts, too, and a query counts by the rows that it
//! may return. What one customer has under way at one time is bounded as well. Operators and customers
//! have an allowance of their own. Customers are also counted by their address, and so are those
//! without a key, apart from each other: neither a stranger nor a customer beyond its own allowance
//! takes anything from the customers that share its address.
//! Wrong keys, and tokens without a role, are counted by address alone, and far fewer are allowed.
//! Deliveries to the webhook have an allowance of their own.
//!
//! All of it is per gateway: several of them behind a load balancer allow as many times as much.

mod limiter;
mod shares;
mod store;

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use governor::clock::MonotonicClock;
use http::{HeaderName, HeaderValue};
use tokio_util::sync::CancellationToken;

use crate::auth::{Caller, Denial, Principal};
use crate::config::millis;
use crate::failure::{Code, Failure};
use crate::{Options, WebhookOptions};
use limiter::{Limiter, Policy};
pub(crate) use shares::{ReadPermit, Shares};

/// How often the keys whose allowance is whole again are forgotten.
const SWEEP: Duration = Duration::from_secs(5);

/// How long a read waits for others of its customer, and half the time of a request at the most.
const READ_WAIT: Duration = Duration::from_secs(5);

/// The fields of draft-ietf-httpapi-ratelimit-headers-10.
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// What is left of an allowance, for the client to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Allowance {
    policy: &'static str,
    /// Value of `RateLimit-Policy`.
    field: HeaderValue,
    remaining: u32,
    /// Seconds until there is more.
    pub wait: u64,
}

impl Allowance {
    /// `RateLimit-Policy` (§3: quota, and window in seconds) and `RateLimit` (§4: what remains, and
    /// seconds until there is more).
    pub fn fields(self) -> [(HeaderName, HeaderValue); 2] {
        let Self { policy, field, remaining, wait } = self;
        let text = format!("\"{policy}\";r={remaining};t={wait}");
        let text = text.try_into().expect("names of policies are plain");
        [(RATE_LIMIT_POLICY, field), (RATE_LIMIT, text)]
    }
}

impl From<&Allowance> for Failure {
    fn from(allowance: &Allowance) -> Self {
        let message = "too many requests; try again later";
        Self { retry_after: Some(allowance.wait), ..Self::new(Code::RateLimited, message) }
    }
}

/// The allowances of everybody. One that is `None` has no limit.
pub(crate) struct Rates {
    operators: Option<Limiter<Principal>>,
    customers: Option<Limiter<Principal>>,
    /// Clients without a key, by address.
    strangers: Option<Limiter<IpAddr>>,
    /// All customers of an address together.
    neighbours: Option<Limiter<IpAddr>>,
    wrong_keys: Option<Limiter<IpAddr>>,
    webhook: Option<Limiter<IpAddr>>,
    pub shares: Shares,
}

impl Rates {
    pub fn new(options: &Options) -> Self {
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        let max = options.max_rate_keys as usize;
        let operators =
            Policy::per("operator", second, options.operator_rate, options.operator_burst);
        let customers =
            Policy::per("customer", second, options.customer_rate, options.customer_burst);
        let addresses = Policy::per("address", second, options.address_rate, options.address_burst);
        let wrong_keys = Policy::per(
            "authentication",
            minute,
            options.wrong_keys_per_minute,
            options.wrong_keys_burst,
        );
        let WebhookOptions { rate, burst, .. } = options.webhook;
        let webhook = Policy::per("webhook", second, rate, burst);
        let wait = READ_WAIT.min(millis(options.request_timeout_ms) / 2);
        let of_principals = |policy| Limiter::new(policy, max, MonotonicClock);
        let of_addresses = |policy| Limiter::new(policy, max, MonotonicClock);
        Self {
            operators: operators.map(of_principals),
            customers: customers.map(of_principals),
            strangers: addresses.map(of_addresses),
            neighbours: addresses.map(of_addresses),
            wrong_keys: wrong_keys.map(of_addresses),
            webhook: webhook.map(of_addresses),
            shares: Shares::new(options.customer_in_flight, options.customer_reads, wait),
        }
    }

    /// Takes one request or operation.
    pub fn request(
        &self,
        address: IpAddr,
        caller: &Caller,
    ) -> Result<Option<Allowance>, Allowance> {
        let of_address = |addresses: &Option<Limiter<IpAddr>>| match addresses {
            Some(addresses) => addresses.take(network(address), NonZeroU32::MIN),
            None => Ok(None),
        };
        match caller {
            None => of_address(&self.strangers),
            Some(principal @ Principal::Operator) => self.take(principal, NonZeroU32::MIN),
            Some(principal @ Principal::Customer(_)) => {
                // Its own first: what it is refused takes nothing from its neighbours.
                let left = self.take(principal, NonZeroU32::MIN)?;
                of_address(&self.neighbours)?;
                Ok(left)
            }
        }
    }

    /// Takes `orders` that `prepaid` has not paid for.
    pub fn orders(
        &self,
        principal: &Principal,
        prepaid: &Prepaid,
        orders: usize,
    ) -> Result<(), Failure> {
        let orders = u32::try_from(orders).unwrap_or(u32::MAX);
        self.take_beyond(principal, prepaid, orders)
    }

    /// Takes what a query that counts as `weight` requests has not paid for. One that counts for more
    /// than there ever is takes all there is.
    pub fn reads(
        &self,
        principal: &Principal,
        prepaid: &Prepaid,
        weight: u32,
    ) -> Result<(), Failure> {
        let burst = self.limiter(principal).map_or(u32::MAX, Limiter::burst);
        self.take_beyond(principal, prepaid, weight.min(burst))
    }

    fn take_beyond(
        &self,
        principal: &Principal,
        prepaid: &Prepaid,
        weight: u32,
    ) -> Result<(), Failure> {
        if weight == 0 {
            return Ok(());
        }
        let spent = prepaid.spend();
        let more = NonZeroU32::new(weight.saturating_sub(spent));
        let (Some(limiter), Some(more)) = (self.limiter(principal), more) else { return Ok(()) };
        // The same request, sent again, has to pay for itself before the rest.
        let taken = limiter.take_again(principal.clone(), more, spent);
        taken.map(drop).map_err(|left| (&left).into())
    }

    fn take(&self, principal: &Principal, n: NonZeroU32) -> Result<Option<Allowance>, Allowance> {
        self.limiter(principal).map_or(Ok(None), |limiter| limiter.take(principal.clone(), n))
    }

    fn limiter(&self, principal: &Principal) -> Option<&Limiter<Principal>> {
        match principal {
            Principal::Operator => self.operators.as_ref(),
            Principal::Customer(_) => self.customers.as_ref(),
        }
    }

    /// Counts a credential that gave nothing: a wrong one, or one without a role, apart from the
    /// address's requests, any other as one of them. Too many are the failure that is told instead. A
    /// good key always passes: it is too long to be guessed, and its owner may share an address with
    /// somebody who tries.
    pub fn count_denial(&self, address: IpAddr, denial: &Denial) -> Result<(), Allowance> {
        let limiter = if denial.is_wrong_key { &self.wrong_keys } else { &self.strangers };
        take_of(limiter, address).map(drop)
    }

    /// Takes one delivery to the webhook.
    pub fn delivery(&self, address: IpAddr) -> Result<(), Allowance> {
        take_of(&self.webhook, address).map(drop)
    }

    /// Forgets those who are idle, until `shutdown`.
    pub async fn keep_house(self: Arc<Self>, shutdown: CancellationToken) {
        let mut tick = tokio::time::interval(SWEEP);
        while shutdown.run_until_cancelled(tick.tick()).await.is_some() {
            self.operators.iter().chain(&self.customers).for_each(Limiter::sweep);
            let of_addresses = self.strangers.iter().chain(&self.neighbours);
            let of_addresses = of_addresses.chain(&self.wrong_keys).chain(&self.webhook);
            of_addresses.for_each(Limiter::sweep);
            self.shares.sweep();
        }
    }
}

fn take_of(
    limiter: &Option<Limiter<IpAddr>>,
    address: IpAddr,
) -> Result<Option<Allowance>, Allowance> {
    limiter.as_ref().map_or(Ok(None), |limiter| limiter.take(network(address), NonZeroU32::MIN))
}

/// The one that a request paid for when it was let in.
#[derive(Debug, Default)]
pub(crate) struct Prepaid {
    is_spent: AtomicBool,
}

impl Prepaid {
    /// 1 the first time, then 0.
    fn spend(&self) -> u32 {
        u32::from(!self.is_spent.swap(true, Ordering::Relaxed))
    }
}

/// Operations that share their asker's words share no payment.
impl Clone for Prepaid {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// Whom an address stands for: itself, or its /64 in IPv6, where that is the least that anybody
/// is given.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    #[test]
    fn an_ipv6_client_is_its_64() {
        let network = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network("2001:db8:1:3::"), "2001:db8:1:3::");
        assert_eq!(network("192.0.2.7"), "192.0.2.7");
        assert_eq!(network("::ffff:192.0.2.7"), "192.0.2.7");
    }

    #[test]
    fn a_request_has_paid_for_one_order() {
        let prepaid = Prepaid::default();
        assert_eq!((prepaid.spend(), prepaid.spend()), (1, 0));
        assert_eq!(prepaid.clone().spend(), 1, "the next operation has paid for itself");
    }

    #[test]
    fn what_is_left_reads_as_the_draft_has_it() {
        let policy = Policy::per("customer", Duration::from_secs(1), 5, 10).unwrap();
        let limiter = Limiter::new(policy, 10, MonotonicClock);
        limiter.take((), NonZeroU32::new(10).unwrap()).unwrap();
        let refused = limiter.take((), NonZeroU32::MIN).unwrap_err();
        let headers: HeaderMap = refused.fields().into_iter().collect();
        assert_eq!(headers["ratelimit-policy"], r#""customer";q=10;w=2"#);
        assert_eq!(headers["ratelimit"], r#""customer";r=0;t=1"#);
    }
}
