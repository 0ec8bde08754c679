//! The map itself and the locks on its file: all of the crate's dealing with shared memory.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::slice;
use std::sync::Arc;

use memmap2::{MmapOptions, MmapRaw};

use super::layout::{Header, Name, Slot, size};
use crate::pool::Nanos;

/// A file mapped into memory, at least as large as its layout.
#[derive(Debug)]
pub(super) struct Region {
    map: MmapRaw,
    capacity: usize,
}

impl Region {
    /// Maps a file that is as large as a layout with so many destinations.
    pub(super) fn map(file: &File, capacity: u32) -> io::Result<Self> {
        let map = MmapOptions::new().len(size(capacity)).map_raw(file)?;
        Ok(Self { map, capacity: capacity as usize })
    }

    pub(super) fn header(&self) -> &Header {
        // SAFETY: the map is page-aligned, holds a header at its start (`size`), and lives as long as `self`. A header
        // is made of atomics alone, for which every pattern of bits is a value and which others may write meanwhile.
        unsafe { &*self.map.as_mut_ptr().cast::<Header>() }
    }

    #[inline]
    pub(super) fn slots(&self) -> &[Slot] {
        // SAFETY: as in `header`; `size` counts `capacity` slots right behind the header, which is a multiple of their
        // alignment.
        unsafe { slice::from_raw_parts(self.map.as_mut_ptr().add(size_of::<Header>()).cast(), self.capacity) }
    }

    pub(super) fn names(&self) -> &[Name] {
        let start = size_of::<Header>() + self.capacity * size_of::<Slot>();
        // SAFETY: as in `slots`; the names follow them.
        unsafe { slice::from_raw_parts(self.map.as_mut_ptr().add(start).cast(), self.capacity) }
    }
}

/// A slot of a region that it keeps mapped: one pointer away, as often as it is asked for.
#[derive(Debug)]
pub(super) struct Pinned {
    slot: NonNull<Slot>,
    _region: Arc<Region>,
}

// SAFETY: what the pointer leads to is made of atomics alone and lives as long as the region, which is kept.
unsafe impl Send for Pinned {}
// SAFETY: as above.
unsafe impl Sync for Pinned {}

impl Pinned {
    pub(super) fn new(region: &Arc<Region>, index: usize) -> Self {
        Self { slot: NonNull::from(&region.slots()[index]), _region: Arc::clone(region) }
    }
}

impl Deref for Pinned {
    type Target = Slot;

    #[inline]
    fn deref(&self) -> &Slot {
        // SAFETY: the region is kept and its map never moves; see `Region::slots`.
        unsafe { self.slot.as_ref() }
    }
}

/// Reserves the file's space, so that writing to the map never finds the file system full.
pub(super) fn reserve(file: &File, bytes: usize) -> io::Result<()> {
    let bytes = libc::off_t::try_from(bytes).map_err(io::Error::other)?;
    // SAFETY: a call without pointers on a file that is open.
    match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, bytes) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// One call of `fcntl` about the lock on one byte; what it says about the lock.
fn lock(file: &File, command: libc::c_int, kind: libc::c_int, byte: u32) -> io::Result<libc::c_int> {
    // SAFETY: a `flock` is plain numbers, of which 0 is one.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    lock.l_start = libc::off_t::from(byte);
    lock.l_len = 1;
    // SAFETY: the file is open, and `lock` lives for the call, which keeps no pointer to it.
    match unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut lock) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(libc::c_int::from(lock.l_type)),
    }
}

/// Locks a byte for this opening of the file: until it is unlocked, or the last process that has the opening closes it
/// or dies. False if it is locked by another.
pub(super) fn try_lock(file: &File, byte: u32) -> io::Result<bool> {
    match lock(file, libc::F_OFD_SETLK, libc::F_WRLCK, byte) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Unlocks a byte.
pub(super) fn unlock(file: &File, byte: u32) -> io::Result<()> {
    lock(file, libc::F_OFD_SETLK, libc::F_UNLCK, byte).map(|_| ())
}

/// Whether another opening of the file has the byte locked.
pub(super) fn is_locked(file: &File, byte: u32) -> io::Result<bool> {
    Ok(lock(file, libc::F_OFD_GETLK, libc::F_WRLCK, byte)? != libc::F_UNLCK)
}

/// Nanoseconds since the machine started, on the clock that all of its processes read alike.
pub fn machine_clock() -> Nanos {
    read_clock(libc::CLOCK_MONOTONIC)
}

/// The same clock as the kernel saw it at its last tick: up to 10 ms late (mostly 4), for a fifth of the cost. Where a
/// system has no such clock, as an emulated one may, the exact one.
pub fn coarse_clock() -> Nanos {
    match read_clock(libc::CLOCK_MONOTONIC_COARSE) {
        0 => machine_clock(),
        time => time,
    }
}

fn read_clock(clock: libc::clockid_t) -> Nanos {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` lives for the call. Where it fails, for a clock that is not there, the time stays 0.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    let (seconds, nanos) = (u64::try_from(time.tv_sec).unwrap_or(0), u64::try_from(time.tv_nsec).unwrap_or(0));
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}
