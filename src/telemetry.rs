//! The process's own log lines: one record, one line, on standard error.

use crate::config::{Format, Telemetry};
use anyhow::Context as _;
use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::{self, IsTerminal as _, Write},
    panic::PanicHookInfo,
};
use tracing::error;
use tracing_subscriber::EnvFilter;

/// A panic's text is kept to this length: it may quote what it choked on.
const PANIC_TEXT_MAX: usize = 512;

/// Starts logging, panics included.
pub(crate) fn init(settings: &Telemetry) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&settings.filter)
        .with_context(|| format!("setting `telemetry.filter`: `{}` is no filter", settings.filter))?;
    let ansi = settings.format == Format::Pretty && io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(ansi)
        .with_writer(move || OneLine { out: io::stderr(), ansi });
    match settings.format {
        Format::Pretty => builder.compact().init(),
        Format::Json => {
            builder.json().flatten_event(true).with_current_span(true).with_span_list(false).init();
        }
    }
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// Logs a panic once, before whoever supervises the thread hears of it.
fn log_panic(info: &PanicHookInfo<'_>) {
    let text = info.payload_as_str().unwrap_or("(no text)");
    let text = &text[..text.floor_char_boundary(PANIC_TEXT_MAX)];
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

/// Keeps a record on one line whatever a field holds: control characters inside are escaped.
struct OneLine<W> {
    out: W,
    ansi: bool,
}

impl<W: Write> Write for OneLine<W> {
    /// Takes a whole record; the subscriber writes each in one piece.
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        let body = record.strip_suffix(b"\n").unwrap_or(record);
        let plain = |byte: &u8| !byte.is_ascii_control() || (self.ansi && *byte == 0x1b);
        if body.iter().all(plain) {
            self.out.write_all(record)?;
            return Ok(record.len());
        }
        let mut line = Vec::with_capacity(record.len() + 16);
        for byte in body {
            if plain(byte) { line.push(*byte) } else { line.extend(byte.escape_ascii()) }
        }
        line.push(b'\n');
        self.out.write_all(&line)?;
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
        OneLine { out: &mut out, ansi: false }.write_all(b"a\nINFO forged \x1b[31m\r\n").unwrap();
        assert_eq!(out, b"a\\nINFO forged \\x1b[31m\\r\n");
    }
}
