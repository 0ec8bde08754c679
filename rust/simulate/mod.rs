//! A seeded discrete-event simulation on the pool code itself: what a policy does to latency, and to whom it sends
//! when destinations are slow, fail or come back.
//!
//! - [`spec`]: what is simulated. `draw`: random times. `server`: what is behind a destination. `sharing`: what routers
//!   know of each other's messages.
//! - `run`: messages through routers, pools and servers in simulated time. [`report`]: what was measured.
//!
//! Time is an argument of the pool, so nothing waits and nothing is imitated: the pools, policies, breakers and ramps
//! are those in use. Two events a message, 1 to 2 million a second. A run is a function of its [`Simulation`]: the
//! same on every machine with the same arithmetic, whatever else runs there.

mod draw;
pub mod report;
mod run;
mod server;
mod sharing;
pub mod spec;

pub use report::{Latency, Report};
pub use run::run;
pub use spec::{Arrivals, Keys, ServerSpec, Service, Shape, Simulation, SimulationError, Trouble, TroubleKind};

use crate::pool::Nanos;

/// How long a destination takes to refuse a message: a tenth of a millisecond, as a connection refused nearby.
pub const REFUSAL: Nanos = 100_000;

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use crate::balance::Choice;
    use crate::pool::{FailoverSpec, MemberSpec, PoolSpec};

    /// `count` destinations of one place and 10 ms, exponential; messages at random, `rate` a second for 10 s.
    pub(crate) fn simulation(policy: impl Into<Choice>, count: usize, rate: f64) -> Simulation {
        let service = Service { mean: 10e6, shape: Shape::Exponential };
        let members = (0..count).map(|number| MemberSpec::new(format!("d{number}"))).collect();
        Simulation {
            pool: PoolSpec {
                id: "p".into(),
                policy: policy.into(),
                members,
                failover: FailoverSpec::default(),
                bounded_load: None,
                dynamic_adjustment: false,
            },
            servers: vec![ServerSpec { service, places: Some(1), troubles: Vec::new() }; count],
            admin: Vec::new(),
            arrivals: Arrivals::Poisson { rate },
            duration: 10_000_000_000,
            warmup: 0,
            routers: 1,
            shared: false,
            timeout: None,
            attempts: 1,
            backoff: 0,
            buckets: 10,
            keys: None,
            seed: 1,
        }
    }
}
