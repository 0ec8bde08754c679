//! The state of destinations that the processes of one machine share, in a memory-mapped file, so that ten workers
//! choose like one: messages in flight, averages of latency and failures, outcomes of the last while, breakers.
//!
//! ```text
//! header   magic, version, sizes | epoch, bits of workers, time of the last reclaiming, slots used, a latch
//! slots    for each destination: messages held by each of 64 workers | averages and breaker | bits of its workers
//! names    for each destination: its id, byte for byte
//! ```
//!
//! **Ownership.** A worker is one opening of the file (a router of a process). It has one of 64 numbers, and with it one
//! byte of the file locked ("open file description" lock of Linux), which the kernel releases when the process dies,
//! however it dies. It counts what it holds in its own word of each slot, and what a destination holds is their sum: no
//! total can drift from its parts. A dead worker is one whose bit is set and whose byte can be locked; whoever finds it
//! sets its words to 0. It is looked for once a second, by the first pick of all workers' picks in that second, and
//! whenever a worker begins. What its trial on probation was lapses by itself.
//!
//! **Beginning and growing.** Whoever begins holds the lock on byte 0. The first of all workers, with nobody else
//! alive, makes the file anew, whatever it held: state from a run that is over, perhaps from before a reboot, says nothing,
//! and nobody has it mapped. The file never grows; with no slot free a configuration is refused. A slot is free if no
//! worker has its destination any longer; one that comes back finds its state as it was.
//!
//! **Time.** All stored times are of the machine's monotonic clock ([`machine_clock`]).
//!
//! **Ordering.** Words of destinations are what they are without sharing, ordered as said there: the epoch in the header
//! publishes transitions. Under a cap a hold adds first and looks then, both sequentially consistent: of those who
//! race for the last place at least all but one see too many and give back; a cap is never exceeded, and two may both
//! be refused. Names and bits of slots change under the lock of byte 0.
//!
//! **Trust.** The file is opened for its owner alone (0600), never through a symbolic link, and refused if it belongs
//! to another user or others may write to it. Every word may have any value, so a damaged file leads to wrong choices
//! and not to undefined behaviour. Truncating it while it is in use kills its users (`SIGBUS`): do not; deleting it
//! only parts those who begin later from those before. Space is reserved when it is made.
//!
//! **Fork.** A child inherits the opening, and with it its parent's number; [`Map::rejoin`] gives it its own. Until then
//! counts are right, and only what a crash leaves is not.
//!
//! Cost: a pick reads as many words of in flight as there are workers; holding is one write, as without sharing.

mod layout;
mod region;
#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use crate::balance::hash::xxh64;
use crate::pool::Nanos;
use crate::pool::state::Shared;
use crate::pool::sync::Latched;
use layout::{MAGIC, NAME_BYTES, Slot, VERSION, WORKERS};
use region::{Pinned, Region, is_locked, reserve, try_lock, unlock};
pub use region::{coarse_clock, machine_clock};

/// Time between two searches for dead workers.
pub(crate) const RECLAIM_EVERY: Nanos = 1_000_000_000;
/// The byte that is locked while somebody begins; the workers' bytes follow.
const GATE: u32 = 0;
/// Tries for the gate, and the wait between them: 5 s for what takes milliseconds.
const GATE_TRIES: u32 = 1_000;
const GATE_WAIT: Duration = Duration::from_millis(5);

/// Why state is not shared.
#[derive(Debug, thiserror::Error)]
pub enum SharedError {
    /// The file cannot be opened, made or mapped.
    #[error("state.shared: {path}: {error}; give a path where this user may make a file, on a local file system")]
    Io {
        /// The file.
        path: String,
        /// What the system says.
        error: io::Error,
    },
    /// Not the kind of file, or not this user's.
    #[error("state.shared: {0} is no regular file of this user's alone; delete it, or give another path")]
    Unsafe(String),
    /// Something else is in it.
    #[error("state.shared: {0} is not a file of shared state; delete it, or give another path")]
    Foreign(String),
    /// Workers of another release use it.
    #[error(
        "state.shared: {0} is in use by another release of turnout, with another layout; stop its workers first, or \
         give another path"
    )]
    Version(String),
    /// Its size is not what its header says.
    #[error("state.shared: {0} is damaged: it was cut or written to by others; stop its workers and delete it")]
    Damaged(String),
    /// All numbers are taken.
    #[error("state.shared: {0} is in use by 64 workers, which is the most; give others a file of their own")]
    Workers(String),
    /// All slots are taken.
    #[error(
        "state.shared: {path} has no room for a further destination than {capacity}; stop its workers and begin with a \
         larger state.destinations"
    )]
    Full {
        /// The file.
        path: String,
        /// Its slots.
        capacity: u32,
    },
    /// Somebody holds the gate.
    #[error("state.shared: {0} is locked by a process that does not go on; stop the process that has it open")]
    Busy(String),
    /// An id that does not fit.
    #[error("state.shared: the id of a destination has at most 1,024 bytes")]
    Name,
}

/// The file, joined as one of its workers.
#[derive(Debug)]
pub struct Map {
    path: PathBuf,
    region: Arc<Region>,
    capacity: u32,
    /// This worker's number.
    worker: AtomicU32,
    opening: Mutex<Opening>,
}

/// What beginnings and ends of destinations, and reclaiming, take turns on.
#[derive(Debug)]
struct Opening {
    file: File,
    /// By slot: how many of this process's destinations lie there.
    uses: Vec<u32>,
}

/// The gate held.
struct Gate<'a>(&'a File);

impl Drop for Gate<'_> {
    fn drop(&mut self) {
        // An error means that the file is no longer open, and with it the lock is gone.
        let _unlocked: io::Result<()> = unlock(self.0, GATE);
    }
}

fn byte_of(worker: u32) -> u32 {
    GATE + 1 + worker
}

impl Map {
    /// Joins the workers of the file, which is made if nobody uses it: for `capacity` destinations then.
    ///
    /// # Errors
    /// [`SharedError`], each with the path and what to do.
    pub fn join(path: &Path, capacity: u32) -> Result<Arc<Self>, SharedError> {
        let name = || path.display().to_string();
        let failed = |error| SharedError::Io { path: name(), error };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let file = options.open(path).map_err(failed)?;
        let about = file.metadata().map_err(failed)?;
        let user = fs::metadata("/proc/self").map_err(failed)?.uid();
        if !about.is_file() || about.uid() != user || about.mode() & 0o022 != 0 {
            return Err(SharedError::Unsafe(name()));
        }
        let gate = Self::gate(&file, &name)?;
        let mut alive = false;
        for worker in 0..WORKERS {
            alive |= is_locked(&file, byte_of(worker)).map_err(failed)?;
        }
        let mut words = [[0u8; 8]; 4];
        let found = file.read_at(words.as_flattened_mut(), 0).map_err(failed)?;
        if found > 0 && words[0] != MAGIC {
            return Err(if alive { SharedError::Damaged(name()) } else { SharedError::Foreign(name()) });
        }
        let capacity = if alive {
            let [_, version, slot, capacity] = words.map(u64::from_ne_bytes);
            if found == size_of_val(&words) && (version != VERSION || slot != size_of::<Slot>() as u64) {
                return Err(SharedError::Version(name()));
            }
            let length = file.metadata().map_err(failed)?.len();
            u32::try_from(capacity)
                .ok()
                .filter(|capacity| found > 0 && length == layout::size(*capacity) as u64)
                .ok_or_else(|| SharedError::Damaged(name()))?
        } else {
            Self::make(&file, capacity).map_err(failed)?;
            capacity
        };
        // A map keeps its opening open, in children too: locks on that one would outlive their process.
        let region = reopen(&file).and_then(|file| Region::map(&file, capacity)).map(Arc::new).map_err(failed)?;
        if !alive {
            region.header().judging.share();
        }
        let worker = Self::enlist(&region, &file).map_err(failed)?.ok_or_else(|| SharedError::Workers(name()))?;
        drop(gate);
        let opening = Mutex::new(Opening { file, uses: vec![0; capacity as usize] });
        Ok(Arc::new(Self { path: path.to_owned(), region, capacity, worker: AtomicU32::new(worker), opening }))
    }

    /// Empties the file and writes its header. The magic comes first: whoever is killed here leaves a file that the
    /// next may make anew.
    fn make(file: &File, capacity: u32) -> io::Result<()> {
        file.set_len(0)?;
        file.write_all_at(&MAGIC, 0)?;
        reserve(file, layout::size(capacity))?;
        let words = [VERSION, size_of::<Slot>() as u64, u64::from(capacity)].map(u64::to_ne_bytes);
        file.write_all_at(words.as_flattened(), MAGIC.len() as u64)
    }

    fn gate<'a>(file: &'a File, name: &dyn Fn() -> String) -> Result<Gate<'a>, SharedError> {
        for _ in 0..GATE_TRIES {
            if try_lock(file, GATE).map_err(|error| SharedError::Io { path: name(), error })? {
                return Ok(Gate(file));
            }
            thread::sleep(GATE_WAIT);
        }
        Err(SharedError::Busy(name()))
    }

    /// Takes the first number that is free; none if all are taken.
    fn enlist(region: &Region, file: &File) -> io::Result<Option<u32>> {
        for worker in 0..WORKERS {
            if try_lock(file, byte_of(worker))? {
                wipe(region, worker);
                // Sequentially consistent: whoever looks at counts under a cap looks at this worker's too (`hold`).
                region.header().workers.fetch_or(1 << worker, Ordering::SeqCst);
                return Ok(Some(worker));
            }
        }
        Ok(None)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a child after a fork a worker of its own. Leases that were held at the fork are its parent's.
    ///
    /// # Errors
    /// As [`Map::join`]; the child then goes on as if it were its parent.
    pub fn rejoin(&self) -> Result<(), SharedError> {
        let name = || self.path.display().to_string();
        let failed = |error| SharedError::Io { path: name(), error };
        // A thread that the fork did not take along may have held it.
        let mut opening =
            self.opening.try_lock_for(Duration::from_millis(100)).ok_or_else(|| SharedError::Busy(name()))?;
        let file = reopen(&opening.file).map_err(failed)?;
        let gate = Self::gate(&file, &name)?;
        let worker = Self::enlist(&self.region, &file).map_err(failed)?.ok_or_else(|| SharedError::Workers(name()))?;
        for (slot, _) in self.region.slots().iter().zip(&opening.uses).filter(|(_, uses)| **uses > 0) {
            slot.workers.fetch_or(1 << worker, Ordering::Relaxed); // relaxed: under the gate
        }
        self.worker.store(worker, Ordering::Relaxed); // relaxed: a child has one thread when it begins
        drop(gate);
        opening.file = file;
        Ok(())
    }

    /// The place of a destination's state, new or as others have it.
    pub(crate) fn place(this: &Arc<Self>, id: &str) -> Result<Place, SharedError> {
        if id.len() > NAME_BYTES {
            return Err(SharedError::Name);
        }
        let name = || this.path.display().to_string();
        let mut opening: MutexGuard<'_, Opening> = this.opening.lock();
        let Opening { file, uses } = &mut *opening;
        let _gate = Self::gate(file, &name)?;
        let (header, slots, names) = (this.region.header(), this.region.slots(), this.region.names());
        // Relaxed, here and below: under the gate.
        let used = (header.used.load(Ordering::Relaxed).min(this.capacity)) as usize;
        let hash = xxh64(id.as_bytes());
        let found = (0..used).find(|index| names[*index].is(id, hash));
        let index = match found {
            Some(index) => index,
            None => {
                let unused = || (0..used).find(|index| slots[*index].workers.load(Ordering::Relaxed) == 0);
                let fresh = Some(used).filter(|used| *used < this.capacity as usize);
                let index =
                    fresh.or_else(unused).ok_or_else(|| SharedError::Full { path: name(), capacity: this.capacity })?;
                slots[index].reset();
                names[index].set(id, hash);
                if index == used {
                    header.used.store(used as u32 + 1, Ordering::Release); // release: after its name
                }
                index
            }
        };
        uses[index] += 1;
        slots[index].workers.fetch_or(1 << this.worker(), Ordering::Relaxed);
        Ok(Place { slot: Pinned::new(&this.region, index), map: Arc::clone(this), index })
    }

    /// One destination of this process less in a slot.
    fn leave(&self, index: usize) {
        let mut opening = self.opening.lock();
        opening.uses[index] = opening.uses[index].saturating_sub(1);
        if opening.uses[index] == 0 {
            let slot = &self.region.slots()[index];
            slot.held[self.worker() as usize].store(0, Ordering::Relaxed);
            slot.workers.fetch_and(!(1 << self.worker()), Ordering::Release); // release: after the last use of it
        }
    }

    /// Sets to 0 what dead workers held, unless that was done in the last second.
    pub(crate) fn reclaim(&self, now: Nanos) {
        let header = self.region.header();
        let last = header.reclaimed_at.load(Ordering::Relaxed); // relaxed: the exchange decides
        if now < last.saturating_add(RECLAIM_EVERY) && now >= last {
            return;
        }
        let first = header.reclaimed_at.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        // Whoever holds the opening begins or ends a destination; a second later is soon enough.
        let Some(opening) = self.opening.try_lock().filter(|_| first) else { return };
        let begun = header.workers.load(Ordering::Acquire);
        for worker in (0..WORKERS).filter(|worker| *worker != self.worker() && begun & 1 << worker != 0) {
            // Of whom it cannot be told whether it lives counts as alive, and is looked at again in a second.
            if try_lock(&opening.file, byte_of(worker)).unwrap_or(false) {
                wipe(&self.region, worker);
                let _unlocked: io::Result<()> = unlock(&opening.file, byte_of(worker));
            }
        }
    }

    #[inline]
    pub(crate) fn epoch(&self) -> &AtomicU64 {
        &self.region.header().epoch
    }

    pub(crate) fn judging(&self) -> Latched<'_> {
        self.region.header().judging.lock()
    }

    #[inline]
    fn worker(&self) -> u32 {
        self.worker.load(Ordering::Relaxed) // relaxed: changes only in `rejoin`
    }
}

/// The same file, whatever is at its path by now, but opened anew: with locks of its own.
fn reopen(file: &File) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Forgets all that a worker held and had. The caller has its byte locked, so there is no such worker.
fn wipe(region: &Region, worker: u32) {
    let used = region.header().used.load(Ordering::Acquire) as usize; // acquire: with the slots before it
    for slot in region.slots().iter().take(used) {
        // Relaxed: a count that carries no other data; and see `leave`.
        slot.held[worker as usize].store(0, Ordering::Relaxed);
        slot.workers.fetch_and(!(1 << worker), Ordering::Release);
    }
    region.header().workers.fetch_and(!(1 << worker), Ordering::AcqRel);
}

/// The place of a destination's state in the file.
#[derive(Debug)]
pub(crate) struct Place {
    slot: Pinned,
    map: Arc<Map>,
    index: usize,
}

impl Place {
    #[inline]
    pub(crate) fn shared(&self) -> &Shared {
        &self.slot.shared
    }

    /// What this worker holds.
    fn own(&self) -> &AtomicU32 {
        &self.slot.held[self.map.worker() as usize]
    }

    #[inline]
    fn sum(&self, ordering: Ordering) -> u32 {
        // Relaxed: a worker that is not seen yet holds nothing yet that this one has to know of; but see `hold`.
        let begun = u64::BITS - self.map.region.header().workers.load(ordering).leading_zeros();
        self.slot.held[..begun as usize].iter().fold(0, |sum: u32, held| sum.saturating_add(held.load(ordering)))
    }

    /// Messages held by all workers.
    #[inline]
    pub(crate) fn in_flight(&self) -> u32 {
        self.sum(Ordering::Relaxed) // relaxed: counts that carry no other data
    }

    /// One message more, unless `cap` are held.
    #[inline]
    pub(crate) fn hold(&self, cap: u32) -> bool {
        if cap == u32::MAX {
            self.own().fetch_add(1, Ordering::Relaxed); // relaxed: as above
            return true;
        }
        // Sequentially consistent: of any that hold too many, the last to add sees all the others.
        self.own().fetch_add(1, Ordering::SeqCst);
        let room = self.sum(Ordering::SeqCst) <= cap;
        if !room {
            self.own().fetch_sub(1, Ordering::SeqCst);
        }
        room
    }

    /// One message less; false if this worker holds none.
    #[inline]
    pub(crate) fn release(&self) -> bool {
        let less = |held: u32| held.checked_sub(1);
        self.own().fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok() // relaxed: as above
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.map.leave(self.index);
    }
}
