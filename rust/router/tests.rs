//! The fate of messages, without Python: stages, routes, live facts, generations.

mod remembering;

use std::collections::HashMap;
use std::sync::Arc;

use super::*;
use crate::message::json::JsonMessage;
use crate::pool::{FailoverSpec, MemberSpec, PoolSpec};
use crate::rules::limits::Limits;
use crate::rules::program::RuleSource;

const NOW: u64 = 1_000_000_000;

fn pool(id: &str, members: &[&str]) -> PoolSpec {
    let members = members.iter().map(|&id| MemberSpec::new(id)).collect();
    PoolSpec {
        id: id.into(),
        policy: Default::default(),
        bounded_load: None,
        dynamic_adjustment: false,
        members,
        failover: FailoverSpec::default(),
    }
}

fn rule(id: &str, priority: i64, when: &str, pools: &[&str]) -> RuleSpec {
    let source = RuleSource { id: id.to_owned(), priority, when: Some(when.to_owned()), matches: None };
    RuleSpec { source, pools: pools.iter().map(|&pool| pool.to_owned()).collect(), mode: Mode::First }
}

/// Pools `sms` (two destinations), `mail` and `pager`; two rules, the urgent lane, default `mail`.
fn spec() -> RouterSpec {
    RouterSpec {
        stages: Stage::ALL.to_vec(),
        rules: vec![
            rule("texts", 0, "message.channel == 'sms'", &["sms", "mail"]),
            rule("vip", 5, "message.vip", &["pager"]),
        ],
        urgent: Some(Urgent { min_priority: 8, pools: vec!["pager".to_owned()] }),
        default: DefaultRoute::Pool("mail".to_owned()),
        pools: vec![pool("sms", &["sms-1", "sms-2"]), pool("mail", &["mail-1"]), pool("pager", &["pager-1"])],
        keys: HashMap::new(),
        admin: Vec::new(),
        limits: Limits::default(),
        caching: Caching::Off,
    }
}

fn build(spec: RouterSpec, registry: &Arc<Registry>, previous: Option<&Snapshot>) -> Arc<Snapshot> {
    let snapshot = Snapshot::build(spec, registry, previous, NOW).unwrap();
    snapshot.publish(previous, NOW);
    Arc::new(snapshot)
}

/// What the stages from `start` on say of a message in JSON, in short.
fn fate(snapshot: &Snapshot, message: &str, start: usize) -> String {
    let message = JsonMessage::parse(message.as_bytes(), snapshot.program().paths()).unwrap();
    let names =
        |pools: &[usize]| pools.iter().map(|&pool| &**snapshot.pools()[pool].id()).collect::<Vec<_>>().join("+");
    match snapshot.resolve(&message, start, NOW).unwrap() {
        Resolution::Custom { resume } => format!("custom, then {resume}"),
        Resolution::Nothing => "nothing".to_owned(),
        Resolution::Route(origin, target) => {
            let origin = match origin {
                Origin::Rule(position) => snapshot.program().rules()[position].id.to_string(),
                Origin::Urgent => "urgent".to_owned(),
                Origin::Named => "named".to_owned(),
                Origin::Custom(name) => name.to_string(),
                Origin::Default => "default".to_owned(),
            };
            let target = match target {
                Target::Pools(pools, _) => names(&pools),
                Target::Destination { pool, id } => format!("{id} of {}", names(&[pool])),
                Target::DeadLetter => "dead letter".to_owned(),
            };
            format!("{origin}: {target}")
        }
    }
}

#[test]
fn the_first_stage_that_yields_a_route_decides() {
    let snapshot = build(spec(), &Registry::new(), None);
    let table = [
        (r#"{"channel":"sms","vip":true,"priority":9}"#, 0, "vip: pager"),
        (r#"{"channel":"sms","priority":9}"#, 0, "texts: sms+mail"),
        (r#"{"channel":"sms","priority":9}"#, 1, "urgent: pager"),
        (r#"{"priority":7,"destination":"sms-2"}"#, 0, "named: sms-2 of sms"),
        (r#"{"destination":"sms"}"#, 0, "named: sms"),
        (r#"{"destination":"nowhere"}"#, 0, "custom, then 4"),
        (r#"{"destination":7,"priority":null}"#, 0, "custom, then 4"),
        (r#"{"channel":"fax"}"#, 4, "default: mail"),
    ];
    for (message, start, expected) in table {
        assert_eq!(fate(&snapshot, message, start), expected, "{message} from stage {start}");
    }
}

#[test]
fn the_default_may_be_dead_letters_or_nothing() {
    for (default, expected) in [(DefaultRoute::DeadLetter, "default: dead letter"), (DefaultRoute::None, "nothing")] {
        let snapshot = build(RouterSpec { default, ..spec() }, &Registry::new(), None);
        assert_eq!(fate(&snapshot, "{}", 4), expected);
    }
}

#[test]
fn a_priority_or_classification_of_another_type_is_an_error_that_names_the_field() {
    let snapshot = build(spec(), &Registry::new(), None);
    let message = JsonMessage::parse(br#"{"priority":"high","classification":3}"#, snapshot.program().paths()).unwrap();
    let error = snapshot.resolve(&message, 1, NOW).unwrap_err();
    assert!(error.to_string().contains("message.priority"), "{error}");
    assert_eq!(snapshot.classification(&message).unwrap_err().field, "message.classification");
}

#[test]
fn a_route_goes_to_the_first_pool_that_has_a_destination() {
    let registry = Registry::new();
    let snapshot = build(spec(), &registry, None);
    let target = Target::Pools(Arc::from([0, 1]), Mode::First);
    let plan = Plan { snapshot, origin: Origin::Default, target, asked: Asked::default() };
    let mut random = fastrand::Rng::with_seed(1);
    let mut pool_of = |exclude: &[&str]| plan.select(None, exclude, NOW, &mut random).map(|choice| choice.pool);
    assert_eq!(pool_of(&[]), Ok(0));
    assert_eq!(pool_of(&["sms-1", "sms-2"]), Ok(1));
    assert_eq!(pool_of(&["sms-1", "sms-2", "mail-1"]).unwrap_err().pool, "sms", "the first pool says why");
    assert!(plan.select(Some(7), &[], NOW, &mut random).is_err(), "there is no such branch");
}

#[test]
fn live_facts_are_read_afresh_and_wrong_ones_are_refused() {
    let registry = Registry::new();
    let mut with_fact = spec();
    let when = "live.pools.sms.healthy_ratio < 1.0 || live.destinations['mail-1'].in_flight > 0";
    with_fact.rules.push(rule("spill", 9, when, &["mail"]));
    let snapshot = build(with_fact, &registry, None);
    assert_eq!(fate(&snapshot, r#"{"channel":"sms"}"#, 0), "texts: sms+mail");
    registry.set_health("sms-1", crate::pool::Health::Unhealthy, "test", NOW).unwrap();
    assert_eq!(fate(&snapshot, r#"{"channel":"sms"}"#, 0), "spill: mail");

    for when in ["live.pools.none.size > 0", "live.pools.sms.colour > 0", "live.pools", "live.things.sms.size > 0"] {
        let mut wrong = spec();
        wrong.rules.push(rule("wrong", 0, &format!("{when} == 1 || true"), &["mail"]));
        let built = Snapshot::build(wrong, &registry, None, NOW);
        assert!(matches!(built, Err(BuildError::Fact(_) | BuildError::Rules(_))), "{when}");
    }
}

#[test]
fn a_generation_takes_over_counts_of_rules_and_what_operators_set() {
    let registry = Registry::new();
    let mut drained = spec();
    drained.admin = vec![("sms-1".to_owned(), Admin::Enabled), ("sms-2".to_owned(), Admin::Draining)];
    let first = build(drained.clone(), &registry, None);
    assert_eq!(registry.get("sms-2").unwrap().admin(), Admin::Draining);
    first.count(&Origin::Rule(1));
    registry.set_admin("sms-1", Admin::Disabled, "operator", NOW).unwrap();

    drained.rules.remove(1);
    drained.admin[1].1 = Admin::Enabled;
    let second = build(drained, &registry, Some(&first));
    assert_eq!(second.generation(), 2);
    assert_eq!(second.rule_hits().collect::<Vec<_>>(), [("texts", 1)]);
    assert_eq!(registry.get("sms-1").unwrap().admin(), Admin::Disabled, "the configuration did not change it");
    assert_eq!(registry.get("sms-2").unwrap().admin(), Admin::Enabled, "the configuration changed it");
}

#[test]
fn destinations_that_are_gone_are_forgotten() {
    let registry = Registry::new();
    let first = build(spec(), &registry, None);
    let mut smaller = spec();
    smaller.pools[0] = pool("sms", &["sms-1"]);
    build(smaller, &registry, Some(&first));
    assert!(registry.get("sms-2").is_none());
    assert!(registry.get("sms-1").is_some());
}

#[test]
fn references_to_pools_that_do_not_exist_name_who_refers() {
    let mut wrong = spec();
    wrong.rules[0].pools = vec!["smz".to_owned()];
    let error = Snapshot::build(wrong, &Registry::new(), None, NOW).unwrap_err();
    assert_eq!(error.to_string(), r#"rule "texts" sends to pool "smz", which does not exist"#);
}
