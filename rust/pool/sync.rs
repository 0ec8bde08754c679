//! The atomics and the lock that destinations and breakers are made of: the usual ones, or, with the feature `model`,
//! those of the model checker, which tries every interleaving and every value that a weak ordering allows.

#[cfg(not(feature = "model"))]
pub(crate) use {
    parking_lot::Mutex,
    std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering},
};

#[cfg(feature = "model")]
pub(crate) use {
    checked::Mutex,
    loom::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering},
};

#[cfg(feature = "model")]
mod checked {
    use std::sync::PoisonError;

    /// The checker's lock, locked as the usual one is.
    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }
}
