//! What the routers know: each its own, or, sharing, what the processes of a machine share by
//! [`shared`](crate::pool::shared), through such a file and by the same code. It is gone with the run.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::pool::Registry;
use crate::pool::shared::Map;
use crate::simulate::spec::{Simulation, SimulationError};

/// A registry for each router.
pub(super) fn registries(spec: &Simulation) -> Result<Vec<Arc<Registry>>, SimulationError> {
    if !spec.shared {
        return Ok((0..spec.routers).map(|_| Registry::new()).collect());
    }
    let path = path();
    let join = || Map::join(&path, spec.servers.len() as u32).map(Registry::sharing);
    let joined: Result<Vec<_>, _> = (0..spec.routers).map(|_| join()).collect();
    // It is the file that counts, and not its name.
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(refused(&error)),
        _ => {}
    }
    joined.map_err(|error| refused(&error))
}

fn refused(error: &dyn std::error::Error) -> SimulationError {
    SimulationError::Scenario { place: "shared".to_owned(), problem: error.to_string() }
}

/// In memory where there is such a place, and of this run alone.
fn path() -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed); // relaxed: only that each gets one of its own matters
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
    folder.join(format!("turnout-simulation-{}-{number}", std::process::id()))
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use crate::balance::PolicyKind;
    use crate::pool::{Outcome, Pool, Request};
    use crate::simulate::testing::simulation;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn routers_share_what_processes_do_and_no_more() {
        let mut spec = simulation(PolicyKind::Prequal, 1, 1.0);
        (spec.routers, spec.shared) = (2, true);
        let registries = registries(&spec).unwrap();
        let pool = |registry| Arc::new(Pool::build(spec.pool.clone(), registry, 1, SECOND).unwrap());
        let (mine, theirs) = (pool(&registries[0]), pool(&registries[1]));
        let mut rng = fastrand::Rng::with_seed(1);
        let held: Vec<_> = (0..2).map(|_| mine.acquire(&Request::default(), SECOND, &mut rng).unwrap()).collect();
        assert!(held[0].succeed(0.5, SECOND + 5_000_000));
        let (here, there) = (mine.members()[0].destination(), theirs.members()[0].destination());
        assert_eq!((here.in_flight(), there.in_flight()), (1, 1));
        let known = |one: &crate::pool::Destination| {
            let counted = one.view(SECOND).successes;
            (counted, one.utilisation(SECOND), one.by_load().at(0, SECOND), one.latency().last())
        };
        assert_eq!(known(here), (1, Some(0.5), Some(5e6), Some(5e6)));
        assert_eq!(known(there), (0, None, None, Some(5e6)));
        assert!(held[1].finish(Outcome::Failure, SECOND));
        assert!(there.failures().success() < 1.0);
    }

    #[test]
    fn nothing_is_left_of_the_file() {
        let mut spec = simulation(PolicyKind::RoundRobin, 3, 1.0);
        (spec.routers, spec.shared) = (3, true);
        let first = path();
        let registries = registries(&spec).unwrap();
        let used = registries[0].shared().unwrap().path().to_path_buf();
        assert!(registries.iter().all(|registry| registry.shared().unwrap().path() == used));
        assert!(!used.exists() && !first.exists());
    }
}
