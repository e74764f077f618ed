//! The process's own log lines: one record, one line, on standard error.

use crate::config::{Format, Telemetry};
use anyhow::Context as _;
use ledgerhook_actors::panics::masked;
use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::{self, IsTerminal as _, Write},
    panic::PanicHookInfo,
    sync::atomic::{AtomicU64, Ordering},
};
use tracing::error;
use tracing_subscriber::EnvFilter;

/// Lines that could not be written since the last one that could.
static LOST: AtomicU64 = AtomicU64::new(0);

/// Starts logging, panics included.
pub(crate) fn init(settings: &Telemetry) -> anyhow::Result<()> {
    let filter = filter(settings)?;
    let ansi = settings.format == Format::Pretty && io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(ansi)
        // An error of its own it would tell on standard error, and end the process where that cannot be written.
        .log_internal_errors(false)
        .with_writer(move || OneLine { out: io::stderr(), ansi, lost: &LOST });
    match settings.format {
        Format::Pretty => builder.compact().init(),
        Format::Json => {
            builder.json().flatten_event(true).with_current_span(true).with_span_list(false).init();
        }
    }
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// Which lines are written.
pub(crate) fn filter(settings: &Telemetry) -> anyhow::Result<EnvFilter> {
    EnvFilter::try_new(&settings.filter)
        .with_context(|| format!("setting `telemetry.filter`: `{}` is no filter", settings.filter))
}

/// Logs a panic once, before whoever supervises the thread hears of it.
fn log_panic(info: &PanicHookInfo<'_>) {
    let text = masked(info.payload_as_str().unwrap_or("(no text)"));
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        error!(thread, place, %backtrace, "panicked: {text}");
    } else {
        error!(thread, place, "panicked: {text}");
    }
}

/// Tells a person something on standard output, if there is one that takes it.
pub(crate) fn tell(text: &str) {
    drop(writeln!(io::stdout(), "{text}"));
}

/// Keeps a record on one line whatever a field holds: control characters inside are escaped. A line that cannot be
/// written, on a full disk, is counted, and the next one that can be tells how many are missing.
struct OneLine<W> {
    out: W,
    ansi: bool,
    lost: &'static AtomicU64,
}

impl<W: Write> OneLine<W> {
    fn line(&self, record: &[u8]) -> Vec<u8> {
        let plain = |byte: &u8| !byte.is_ascii_control() || (self.ansi && *byte == 0x1b);
        let mut line = Vec::with_capacity(record.len() + 16);
        for byte in record.strip_suffix(b"\n").unwrap_or(record) {
            if plain(byte) { line.push(*byte) } else { line.extend(byte.escape_ascii()) }
        }
        line.push(b'\n');
        line
    }
}

impl<W: Write> Write for OneLine<W> {
    /// Takes a whole record; the subscriber writes each in one piece.
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        let mut line = self.line(record);
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            line.splice(0..0, self.line(format!("{lost} log lines could not be written").as_bytes()));
        }
        if self.out.write_all(&line).is_err() {
            self.lost.fetch_add(lost + 1, Ordering::Relaxed);
        }
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SEC.4
    #[test]
    fn a_record_stays_on_one_line() {
        let mut out = Vec::new();
        OneLine { out: &mut out, ansi: false, lost: &LOST }
            .write_all(b"a\nINFO forged \x1b[31m\r\n")
            .unwrap();
        assert_eq!(out, b"a\\nINFO forged \\x1b[31m\\r\n");
    }
    /// CRS.6: a full disk takes no line, and the process goes on.
    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        static MISSING: AtomicU64 = AtomicU64::new(0);
        struct Full(Vec<u8>, bool);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                if self.1 { Err(io::ErrorKind::StorageFull.into()) } else { self.0.write(bytes) }
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut log = OneLine { out: Full(Vec::new(), true), ansi: false, lost: &MISSING };
        log.write_all(b"one\n").unwrap();
        log.write_all(b"two\n").unwrap();
        log.out.1 = false;
        log.write_all(b"three\n").unwrap();
        log.write_all(b"four\n").unwrap();
        assert_eq!(log.out.0, b"2 log lines could not be written\nthree\nfour\n");
    }
}
