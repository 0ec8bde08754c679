use std::sync::atomic::AtomicUsize;

use proptest::prelude::*;

use super::*;
use crate::balance::PolicyKind;
use crate::pool::tests::{SECOND, spec};
use crate::pool::{Lease, Outcome, Pool, PoolSpec, Registry, Request};

/// A path of its own in the folder of temporary files; the file goes with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("turnout-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self(std::env::temp_dir().join(name))
    }

    fn join(&self) -> Arc<Map> {
        Map::join(&self.0, 8).unwrap()
    }

    fn error(&self) -> String {
        Map::join(&self.0, 8).unwrap_err().to_string()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _removed: io::Result<()> = fs::remove_file(&self.0);
    }
}

/// As the kernel leaves a process that is killed: its locks are gone, and nothing else.
fn kill(map: &Map) {
    map.opening.lock().file = File::open("/dev/null").unwrap();
}

struct Worker {
    registry: Arc<Registry>,
    pool: Arc<Pool>,
    rng: fastrand::Rng,
}

impl Worker {
    fn new(map: Arc<Map>, spec: PoolSpec, seed: u64) -> Self {
        let registry = Registry::sharing(map);
        let pool = Arc::new(Pool::build(spec, &registry, 1, SECOND).unwrap());
        registry.publish([&pool]);
        Self { registry, pool, rng: fastrand::Rng::with_seed(seed) }
    }

    fn acquire(&mut self, now: Nanos) -> Lease {
        self.pool.acquire(&Request::default(), now, &mut self.rng).unwrap()
    }

    fn held(&self, id: &str) -> u32 {
        self.registry.get(id).unwrap().in_flight()
    }
}

#[test]
fn workers_see_what_the_others_hold() {
    let file = Scratch::new();
    let (one, two) = (file.join(), file.join());
    let (mine, theirs) = (Map::place(&one, "a").unwrap(), Map::place(&two, "a").unwrap());
    assert!(mine.hold(u32::MAX) && theirs.hold(2));
    assert_eq!((mine.in_flight(), theirs.in_flight()), (2, 2));
    assert!(!mine.hold(2), "the cap is of all together");
    assert_eq!(Map::place(&two, "b").unwrap().in_flight(), 0);
    assert_eq!(fs::metadata(&file.0).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn ids_are_told_apart_byte_for_byte() {
    let file = Scratch::new();
    let map = file.join();
    let ids = ["a", "a\0", "aaaaaaaa", "aaaaaaaaa", "é"];
    let places: Vec<Place> = ids.iter().map(|id| Map::place(&map, id).unwrap()).collect();
    let other = file.join();
    for (id, place) in ids.iter().zip(&places) {
        assert_eq!(Map::place(&other, id).unwrap().index, place.index, "{id:?}");
    }
    assert!(matches!(Map::place(&map, &"x".repeat(NAME_BYTES + 1)), Err(SharedError::Name)));
}

#[test]
fn what_a_killed_worker_held_is_given_back_within_a_second() {
    let file = Scratch::new();
    let mut alive = Worker::new(file.join(), spec(PolicyKind::LeastConnections, 2), 1);
    let mut dead = Worker::new(file.join(), spec(PolicyKind::LeastConnections, 2), 2);
    let lost: Vec<Lease> = (0..6).map(|_| dead.acquire(SECOND)).collect();
    let kept = alive.acquire(SECOND);
    assert_eq!(alive.held("a") + alive.held("b"), 7);
    kill(dead.registry.shared().unwrap());
    alive.acquire(2 * SECOND);
    assert_eq!(alive.held("a") + alive.held("b"), 1);
    assert!(kept.finish(Outcome::Success, 2 * SECOND));
    assert_eq!(alive.held("a") + alive.held("b"), 0);
    std::mem::forget((lost, dead)); // a dead process drops nothing
}

#[test]
fn an_ejection_by_one_is_seen_by_the_others_at_once() {
    let file = Scratch::new();
    let worker = |seed| Worker::new(file.join(), spec(PolicyKind::RoundRobin, 3), seed);
    let (mut one, mut two) = (worker(1), worker(2));
    for _ in 0..5 {
        let request = Request { pinned: Some("b"), ..Request::default() };
        let lease = one.pool.acquire(&request, SECOND, &mut one.rng).unwrap();
        lease.finish(Outcome::Failure, SECOND);
    }
    assert!(two.registry.get("b").unwrap().breaker().is_ejected());
    for _ in 0..9 {
        assert_ne!(&**two.acquire(SECOND + 1).destination().id(), "b");
    }
    assert_eq!(two.registry.recover("b", SECOND + 2), Some(true));
    let ids: Vec<_> = (0..3).map(|_| one.acquire(SECOND + 3).destination().id().to_string()).collect();
    assert!(ids.contains(&"b".to_owned()), "{ids:?}");
}

#[test]
fn outages_are_measured_once_whoever_ejects_and_whoever_recovers() {
    let file = Scratch::new();
    let mut workers: Vec<Worker> =
        (1..=3).map(|seed| Worker::new(file.join(), spec(PolicyKind::RoundRobin, 3), seed)).collect();
    let pinned = |worker: &mut Worker, outcome: Outcome, now: Nanos| {
        let request = Request { pinned: Some("b"), ..Request::default() };
        worker.pool.acquire(&request, now, &mut worker.rng).unwrap().finish(outcome, now);
    };
    let seen = |worker: &Worker, now: Nanos| worker.registry.get("b").unwrap().view(now).outages;
    let mut now = SECOND;
    let (mut lengths, mut trials) = (Vec::new(), 0);
    // Who fails, who makes the trial that fails (if any), who makes the two that pass.
    for (ejector, failing, passing) in [(0, None, 1), (0, Some(2), 0), (1, None, 2), (0, None, 0)] {
        for _ in 0..5 {
            now += SECOND / 10;
            pinned(&mut workers[ejector], Outcome::Failure, now);
        }
        let ejected = now;
        let wait = |workers: &[Worker], now| workers[0].registry.get("b").unwrap().view(now).ejected_for.unwrap();
        for (worker, outcome) in failing
            .map(|worker| (worker, Outcome::Failure))
            .into_iter()
            .chain([(passing, Outcome::Success), (passing, Outcome::Success)])
        {
            if workers[0].registry.get("b").unwrap().view(now).breaker == "ejected" {
                now += wait(&workers, now);
            }
            pinned(&mut workers[worker], outcome, now);
            trials += 1;
        }
        lengths.push(now - ejected);
        for worker in &workers {
            let outages = seen(worker, now);
            assert_eq!(outages, seen(&workers[0], now), "all tell the same");
            assert_eq!((outages.recovery.count, outages.recovery.last), (lengths.len() as u64, now - ejected));
            assert_eq!((outages.detection.count, outages.detection.last), (lengths.len() as u64, 4 * SECOND / 10));
        }
        now += SECOND;
    }
    let outages = seen(&workers[1], now);
    assert_eq!((outages.recovery.sum, Some(&outages.recovery.longest)), (lengths.iter().sum(), lengths.iter().max()));
    assert_eq!((outages.ejections, outages.recoveries), (5, 4), "four streaks and a failed trial");
    assert_eq!((outages.trials, outages.trials_passed, outages.trials_failed), (trials, 8, 1));
}

#[test]
fn of_all_workers_one_makes_the_trial() {
    let file = Scratch::new();
    let places: Vec<Place> = (0..10).map(|_| Map::place(&file.join(), "a").unwrap()).collect();
    let failover = crate::pool::FailoverSpec::default();
    assert!(places[3].shared().breaker.eject(SECOND, SECOND, &failover, 7).is_some());
    let later = 100 * SECOND;
    let trials = places.iter().filter(|place| place.shared().breaker.take_permit(later, SECOND).is_some()).count();
    assert_eq!(trials, 1);
}

#[test]
fn a_worker_with_a_further_destination_joins_and_one_that_leaves_makes_room() {
    let file = Scratch::new();
    let old = Worker::new(file.join(), spec(PolicyKind::LeastConnections, 7), 1);
    let mut new = Worker::new(file.join(), spec(PolicyKind::LeastConnections, 8), 2);
    let lease = new.acquire(SECOND);
    assert_eq!(old.pool.members().len(), 7);
    let full = Map::place(new.registry.shared().unwrap(), "z").unwrap_err().to_string();
    assert!(full.contains("larger state.destinations") && full.contains(file.0.to_str().unwrap()), "{full}");
    let map = Arc::clone(new.registry.shared().unwrap());
    drop(lease);
    drop(new);
    assert!(Map::place(&map, "z").is_ok(), "in the place of h");
    assert!(Map::place(&map, "a").is_ok(), "which others have");
}

#[test]
fn a_slot_that_goes_to_another_destination_begins_anew() {
    let file = Scratch::new();
    let map = file.join();
    for (index, id) in ["a", "b", "c", "d", "e", "f", "g", "h", "i"].into_iter().enumerate() {
        let place = Map::place(&map, id).unwrap();
        assert_eq!((place.in_flight(), place.shared().latency.last()), (0, None), "{id}");
        assert!(!place.shared().breaker.is_ejected());
        assert!(place.hold(u32::MAX));
        place.shared().latency.observe(SECOND, SECOND);
        place.shared().breaker.eject(SECOND, SECOND, &crate::pool::FailoverSpec::default(), 1);
        assert_eq!(place.index, index % 8, "the first free one");
    }
}

#[test]
fn state_stays_while_a_worker_lives_and_ends_with_the_last() {
    let file = Scratch::new();
    let first = file.join();
    let stays = file.join();
    Map::place(&first, "a").unwrap().shared().latency.observe(SECOND, SECOND);
    drop(first);
    assert_eq!(Map::place(&file.join(), "a").unwrap().shared().latency.last(), Some(1e9), "one came, another went");
    kill(&stays);
    assert_eq!(Map::place(&file.join(), "a").unwrap().shared().latency.last(), None);
}

#[test]
fn files_that_are_something_else_are_left_alone() {
    let file = Scratch::new();
    fs::write(&file.0, "precious").unwrap();
    fs::set_permissions(&file.0, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    assert!(file.error().contains("is not a file of shared state"), "{}", file.error());
    assert_eq!(fs::read(&file.0).unwrap(), b"precious");
    fs::set_permissions(&file.0, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    assert!(file.error().contains("of this user's alone"), "{}", file.error());

    let link = Scratch::new();
    std::os::unix::fs::symlink(&file.0, &link.0).unwrap();
    assert!(link.error().contains(link.0.to_str().unwrap()), "{}", link.error());
    let folder = Map::join(&std::env::temp_dir(), 8).unwrap_err().to_string();
    assert!(folder.contains("give a path"), "{folder}");
}

#[test]
fn a_dead_run_of_any_version_or_size_makes_way() {
    for content in [&b""[..], &MAGIC, b"turnout\x01 of some other release, cut off"] {
        let file = Scratch::new();
        fs::write(&file.0, content).unwrap();
        fs::set_permissions(&file.0, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        assert_eq!(Map::place(&file.join(), "a").unwrap().in_flight(), 0);
    }
}

#[test]
fn a_file_in_use_is_never_changed_by_who_does_not_understand_it() {
    let file = Scratch::new();
    let map = file.join();
    map.region.header().version.store(VERSION + 1, Ordering::Relaxed);
    assert!(file.error().contains("another release"), "{}", file.error());
    map.region.header().version.store(VERSION, Ordering::Relaxed);
    map.region.header().capacity.store(9, Ordering::Relaxed);
    assert!(file.error().contains("damaged"), "{}", file.error());
    map.region.header().capacity.store(8, Ordering::Relaxed);
    OpenOptions::new().write(true).open(&file.0).unwrap().set_len(100).unwrap();
    assert!(file.error().contains("damaged"), "{}", file.error());
    OpenOptions::new().write(true).open(&file.0).unwrap().set_len(0).unwrap();
    assert!(file.error().contains("damaged"), "{}", file.error());
    OpenOptions::new().write(true).open(&file.0).unwrap().set_len(layout::size(8) as u64).unwrap();
}

#[test]
fn there_are_sixty_four_workers_and_each_that_ends_makes_room() {
    let file = Scratch::new();
    let mut workers: Vec<Arc<Map>> = (0..64).map(|_| file.join()).collect();
    assert!(file.error().contains("64 workers"), "{}", file.error());
    workers.pop();
    workers.push(file.join());
    kill(&workers[20]);
    assert_eq!(file.join().worker(), 20);
}

#[test]
fn a_child_that_rejoins_counts_for_itself() {
    let file = Scratch::new();
    let (parent, other) = (file.join(), file.join());
    let place = Map::place(&parent, "a").unwrap();
    assert!(place.hold(u32::MAX));
    fs::remove_file(&file.0).unwrap(); // it is the file that counts, not its path
    let before = parent.worker();
    parent.rejoin().unwrap();
    assert_eq!((before, parent.worker()), (0, 2));
    assert!(place.hold(u32::MAX));
    assert_eq!(place.own().load(Ordering::Relaxed), 1);
    other.reclaim(SECOND); // here the parent is gone with its opening
    assert_eq!(place.in_flight(), 1);
    assert!(place.slot.workers.load(Ordering::Relaxed) & 1 << 2 != 0);
}

#[test]
fn a_cap_holds_between_workers_that_race() {
    let file = Scratch::new();
    let places: Vec<Place> = (0..4).map(|_| Map::place(&file.join(), "a").unwrap()).collect();
    let most = AtomicU32::new(0);
    let committed = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for place in &places {
            let (most, committed) = (&most, &committed);
            scope.spawn(move || {
                for _ in 0..5_000 {
                    if place.hold(3) {
                        most.fetch_max(committed.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        committed.fetch_sub(1, Ordering::SeqCst);
                        place.own().fetch_sub(1, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    assert!((1..=3).contains(&most.into_inner()));
    assert_eq!(places[0].in_flight(), 0);
}

#[derive(Debug, Clone)]
enum Step {
    Hold { worker: usize, destination: usize, cap: u32 },
    Release { worker: usize, destination: usize },
    Crash { worker: usize },
    Leave { worker: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..4usize, 0..3usize, 1..6u32, 0..20u8).prop_map(|(worker, destination, cap, kind)| match kind {
        0 => Step::Crash { worker },
        1 => Step::Leave { worker },
        2..=12 => Step::Hold { worker, destination, cap },
        _ => Step::Release { worker, destination },
    });
    prop::collection::vec(step, 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn counts_equal_those_of_a_model_whatever_workers_do_and_die_of(steps in steps()) {
        const IDS: [&str; 3] = ["a", "b", "c"];
        let file = Scratch::new();
        let enter = || {
            let map = file.join();
            let places: Vec<Place> = IDS.iter().map(|id| Map::place(&map, id).unwrap()).collect();
            (map, places)
        };
        let watcher = enter();
        let mut workers: Vec<(Arc<Map>, Vec<Place>)> = (0..4).map(|_| enter()).collect();
        let (mut model, mut now) = ([[0u32; 3]; 4], SECOND);
        for step in steps {
            match step {
                Step::Hold { worker, destination, cap } => {
                    let held: u32 = model.iter().map(|counts| counts[destination]).sum();
                    let taken = workers[worker].1[destination].hold(cap);
                    prop_assert_eq!(taken, held < cap);
                    model[worker][destination] += u32::from(taken);
                }
                Step::Release { worker, destination } => {
                    if model[worker][destination] > 0 {
                        workers[worker].1[destination].own().fetch_sub(1, Ordering::Relaxed);
                        model[worker][destination] -= 1;
                    }
                }
                Step::Crash { worker } => {
                    let dead = std::mem::replace(&mut workers[worker], enter());
                    kill(&dead.0);
                    std::mem::forget(dead.1);
                    now += RECLAIM_EVERY;
                    watcher.0.reclaim(now);
                    model[worker] = [0; 3];
                }
                Step::Leave { worker } => {
                    for (place, held) in workers[worker].1.iter().zip(&mut model[worker]) {
                        place.own().fetch_sub(std::mem::take(held), Ordering::Relaxed);
                    }
                    drop(std::mem::replace(&mut workers[worker], enter()));
                }
            }
            for (destination, place) in watcher.1.iter().enumerate() {
                let held: u32 = model.iter().map(|counts| counts[destination]).sum();
                prop_assert_eq!(place.in_flight(), held);
            }
        }
    }
}

#[test]
fn the_coarse_clock_goes_on_and_is_never_ahead_of_the_exact_one() {
    let first = coarse_clock();
    assert!(first > 0);
    let mut last = first;
    while last == first {
        std::thread::yield_now();
        last = coarse_clock();
        assert!(last <= machine_clock());
    }
    assert!(last > first);
}
