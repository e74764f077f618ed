//! Descriptors of this process: whether they have run out.

use rustix::io::Errno;
use std::io;

/// Whether an operation failed because there was no descriptor left, for this process or on this machine.
pub(crate) fn ran_out(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}
