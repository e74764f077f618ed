//! A log whose writer has no thread: it works when it is told to, for simulations.

use super::{
    OpenReport, Options, SegmentLog, Verified,
    folder::Folder,
    verify::verify_folder,
    writer::{Turn, Writer},
};
use crate::log::{LogError, disk::Disk};
use std::{path::Path, sync::Arc};

/// The writing half.
pub(crate) struct Stepper(Writer);

impl Stepper {
    /// One turn: whatever was appended until now becomes durable. False if there was nothing to do, or no space to do
    /// it. An error ends the log, as it does on a thread.
    pub(crate) fn step(&mut self) -> Result<bool, LogError> {
        let turn = self.0.turn();
        if let Err(error) = &turn {
            self.0.fail(error);
        }
        Ok(turn? == Turn::Worked)
    }
}

/// Opens a log on any disk.
pub(crate) fn open(
    disk: Arc<dyn Disk>,
    folder: &Path,
    options: Options,
) -> Result<(SegmentLog, Stepper, OpenReport), LogError> {
    let folder = Folder::on(folder, disk);
    let (log, writer, report) = SegmentLog::prepare(folder, Options { spare_ahead: false, ..options })?;
    Ok((log, Stepper(writer), report))
}

/// Checks a log on any disk.
pub(crate) fn verify(disk: Arc<dyn Disk>, folder: &Path) -> Result<Verified, LogError> {
    verify_folder(&Folder::on(folder, disk))
}
