//! The threads that Rust works on. Rayon's own global ones do not survive a fork, and a child that asks them
//! waits for ever; `multiprocessing` forks by default on Linux before Python 3.14.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::process;
use std::sync::{Arc, Mutex, PoisonError};

/// Worker threads with the process that they run in.
static WORKERS: Mutex<Option<(u32, Arc<ThreadPool>)>> = Mutex::new(None);

/// Worker threads of this process, as many as `RAYON_NUM_THREADS` or the machine says.
///
/// Asked with the interpreter held, so that no `os.fork` finds the lock taken.
pub(super) fn workers(_py: Python<'_>) -> PyResult<Arc<ThreadPool>> {
    let mut held = WORKERS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((process, pool)) = &*held
        && *process == process::id()
    {
        return Ok(pool.clone());
    }
    let fault = |e| PyRuntimeError::new_err(format!("no worker thread could be started: {e}"));
    let pool = Arc::new(ThreadPoolBuilder::new().build().map_err(fault)?);
    // The parent's threads are not in this process: to end them would be to wait for them.
    std::mem::forget(held.replace((process::id(), pool.clone())));
    Ok(pool)
}

/// Runs `work` on the worker threads with the interpreter released.
pub(super) fn on_workers<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> PyResult<T> {
    let pool = workers(py)?;
    Ok(py.detach(|| pool.install(work)))
}
