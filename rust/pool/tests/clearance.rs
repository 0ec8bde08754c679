//! Whatever happens to a pool, nobody receives a message above its clearance.

use super::*;
use proptest::prelude::*;

/// Something that changes who serves, by the member it happens to.
#[derive(Debug, Clone)]
enum Change {
    Fail(usize),
    Health(usize, Health),
    Admin(usize, Admin),
    FailOver(usize, usize),
    FailBack(usize),
    Later(Nanos),
}

fn changes() -> impl Strategy<Value = Change> {
    let member = || 0usize..6;
    prop_oneof![
        4 => member().prop_map(Change::Fail),
        2 => (member(), prop::sample::select(&[Health::Healthy, Health::Degraded, Health::Unhealthy][..]))
            .prop_map(|(member, health)| Change::Health(member, health)),
        1 => (member(), prop::sample::select(&[Admin::Enabled, Admin::Draining, Admin::Disabled][..]))
            .prop_map(|(member, admin)| Change::Admin(member, admin)),
        2 => (member(), member()).prop_map(|(member, to)| Change::FailOver(member, to)),
        1 => member().prop_map(Change::FailBack),
        2 => (1..90 * SECOND).prop_map(Change::Later),
    ]
}

proptest! {
    #[test]
    fn nobody_receives_a_message_above_its_clearance(
        policy in prop::sample::select(PolicyKind::ALL.to_vec()),
        members in prop::collection::vec((0u8..3, 0u8..4), 6),
        exhausted in prop::sample::select(&[OnExhausted::Panic, OnExhausted::Wait][..]),
        spill in any::<bool>(),
        steps in prop::collection::vec((changes(), 0u8..4), 1..40),
    ) {
        let mut spec = spec(policy, members.len());
        for (member, (tier, clearance)) in spec.members.iter_mut().zip(&members) {
            (member.tier, member.clearance) = (*tier, *clearance);
        }
        (spec.failover.spill, spec.failover.on_exhausted, spec.failover.streak) = (spill, exhausted, 1);
        let mut bench = Bench::new(spec);
        let ids: Vec<String> = bench.pool.members().iter().map(|member| member.id().to_string()).collect();
        for (change, classification) in steps {
            let now = bench.now;
            match change {
                Change::Fail(member) => {
                    if let Ok(lease) = bench.lease_of(&ids[member]) {
                        lease.finish(Outcome::Failure, now);
                    }
                }
                Change::Health(member, health) => {
                    bench.registry.set_health(&ids[member], health, "test", now);
                }
                Change::Admin(member, admin) => {
                    bench.registry.set_admin(&ids[member], admin, "test", now);
                }
                Change::FailOver(member, to) => {
                    bench.registry.fail_over(&ids[member], Some(ids[to].as_str().into()), now + 30 * SECOND, now);
                }
                Change::FailBack(member) => {
                    bench.registry.fail_back(&ids[member], true, now);
                }
                Change::Later(time) => bench.now += time,
            }
            let allowed = |member: usize| bench.pool.members()[member].clearance >= classification;
            let request = Request { classification, key: Some(7), ..Request::default() };
            let pool = Arc::clone(&bench.pool);
            for _ in 0..4 {
                if let Ok(pick) = pool.select(&request, bench.now, &mut fastrand::Rng::with_seed(1)) {
                    prop_assert!(allowed(pick.member), "{pick:?}");
                }
                if let Ok(lease) = pool.acquire(&request, bench.now, &mut fastrand::Rng::with_seed(2)) {
                    prop_assert!(allowed(lease.pick().member), "{:?}", lease.pick());
                    lease.finish(Outcome::Success, bench.now);
                }
            }
        }
    }
}
