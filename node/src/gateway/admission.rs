//! How many connections there may be: in all, from one address, of one principal. And how fast one may speak.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use routing::command::Principal;
use routing::ids::TenantId;
use tokio::time::Instant;

/// Counts connections. A cheap clone.
#[derive(Clone, Default)]
pub(super) struct Admission {
    counts: Arc<Mutex<Counts>>,
}

#[derive(Default)]
struct Counts {
    all: u64,
    addresses: HashMap<IpAddr, u64>,
    principals: HashMap<(TenantId, Principal), u64>,
}

/// A place among the connections; given back when dropped.
pub(super) struct Place {
    admission: Admission,
    address: Option<IpAddr>,
    principal: Option<(TenantId, Principal)>,
}

impl Admission {
    /// Before the upgrade. `Err` names the limit.
    pub(super) fn connect(
        &self,
        address: Option<IpAddr>,
        all_max: u64,
        address_max: u64,
    ) -> Result<Place, &'static str> {
        let mut counts = self.counts.lock();
        if counts.all >= all_max {
            return Err("connections");
        }
        if address.is_some_and(|address| counts.addresses.get(&address).is_some_and(|&n| n >= address_max)) {
            return Err("connections_per_address");
        }
        counts.all += 1;
        if let Some(address) = address {
            *counts.addresses.entry(address).or_default() += 1;
        }
        drop(counts);
        Ok(Place {
            admission: self.clone(),
            address,
            principal: None,
        })
    }
}

impl Place {
    /// After the greeting.
    pub(super) fn greeted(
        &mut self,
        tenant: TenantId,
        principal: Principal,
        principal_max: u64,
    ) -> Result<(), &'static str> {
        let mut counts = self.admission.counts.lock();
        let count = counts.principals.entry((tenant, principal.clone())).or_default();
        if *count >= principal_max {
            return Err("connections_per_principal");
        }
        *count += 1;
        drop(counts);
        self.principal = Some((tenant, principal));
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.admission.counts.lock();
        counts.all -= 1;
        if let Some(address) = &self.address {
            one_less(&mut counts.addresses, address);
        }
        if let Some(principal) = &self.principal {
            one_less(&mut counts.principals, principal);
        }
    }
}

fn one_less<K: Eq + Hash>(counts: &mut HashMap<K, u64>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// A token bucket.
#[derive(Debug)]
pub(super) struct Bucket {
    per_second: f64,
    burst: f64,
    level: f64,
    at: Instant,
}

impl Bucket {
    pub(super) fn new(per_second: u64, burst: u64) -> Self {
        let (per_second, burst) = (per_second.max(1) as f64, burst.max(1) as f64);
        Self {
            per_second,
            burst,
            level: burst,
            at: Instant::now(),
        }
    }

    /// Takes one. `Err`: milliseconds until there is one.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), u64> {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.level = (self.level + passed * self.per_second).min(self.burst);
        if self.level < 1.0 {
            return Err(((1.0 - self.level) / self.per_second * 1_000.0).ceil() as u64);
        }
        self.level -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use routing::ids::AgentId;

    #[test]
    fn places_are_counted_and_given_back() {
        let admission = Admission::default();
        let here = Some(IpAddr::from([127, 0, 0, 1]));
        let mut first = admission.connect(here, 3, 2).unwrap();
        let second = admission.connect(here, 3, 2).unwrap();
        assert_eq!(admission.connect(here, 3, 2).err(), Some("connections_per_address"));
        let _third = admission.connect(None, 3, 2).unwrap();
        assert_eq!(admission.connect(None, 3, 2).err(), Some("connections"));
        first.greeted(TenantId(1), Principal::Agent(AgentId(1)), 1).unwrap();
        drop(second);
        let mut fourth = admission.connect(here, 3, 2).unwrap();
        let agent = || Principal::Agent(AgentId(1));
        assert_eq!(
            fourth.greeted(TenantId(1), agent(), 1),
            Err("connections_per_principal")
        );
        assert_eq!(
            fourth.greeted(TenantId(2), agent(), 1),
            Ok(()),
            "another tenant's agent"
        );
        drop(first);
        assert_eq!(admission.counts.lock().principals.len(), 1);
    }

    #[test]
    fn a_bucket_fills_again() {
        let mut bucket = Bucket::new(10, 2);
        let now = bucket.at;
        assert_eq!(
            [bucket.take(now), bucket.take(now), bucket.take(now)],
            [Ok(()), Ok(()), Err(100)]
        );
        assert_eq!(bucket.take(now + Duration::from_millis(100)), Ok(()));
    }
}
