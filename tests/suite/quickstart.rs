//! The README's way from clone to the first verified delivery, run as it is written.

use crate::support::{eventually, server::binary};
use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The one long line of the README that begins with `start`.
fn readme_line(start: &str) -> String {
    let readme = include_str!("../../README.md");
    readme.lines().find(|line| line.starts_with(start)).expect("a line of the README").to_owned()
}

/// A first run with an inbox, and what it writes.
struct Inbox {
    lines: Arc<Mutex<Vec<String>>>,
    _process: Process,
    _folder: tempfile::TempDir,
}

impl Inbox {
    fn open(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = Command::new(binary());
        command.args(["--inbox=127.0.0.1:0", "--listen", "127.0.0.1:0"]).args(options);
        command.current_dir(folder.path()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().expect("the binary starts");
        let output = child.stdout.take().expect("stdout");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let collected = Arc::clone(&lines);
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                collected.lock().expect("lines").push(line);
            }
        });
        Self { lines, _process: Process(child), _folder: folder }
    }

    fn find(&self, start: &str) -> Option<String> {
        let lines = self.lines.lock().expect("lines");
        lines.iter().find(|line| line.starts_with(start)).cloned()
    }
}

/// The line fits the first tenant, whichever contract it has.
#[test]
fn the_pasted_line_gives_a_verified_delivery_under_every_default_profile() {
    for profile in ["afftok", "apexmediation", "attribution", "social", "standard"] {
        let inbox = Inbox::open(&["--default-profile", profile]);
        let pasted = eventually("a line to paste", || inbox.find("curl "));
        let run = Command::new("bash").arg("-c").arg(&pasted).output().expect("bash runs");
        assert!(run.status.success(), "{profile}: {run:?}");
        let seen = eventually("the inbox tells", || inbox.find("inbox: "));
        assert!(seen.ends_with("attempt 1, signature verified"), "{profile}: {seen}");
        assert!(!seen.contains("(no type)"), "{profile}: {seen}");
    }
}

#[test]
fn one_command_and_one_pasted_line_give_a_verified_delivery() {
    assert!(include_str!("../../README.md").contains("\ncargo run --release -- --inbox\n"));
    let inbox = Inbox::open(&[]);
    let find = |start: &str| inbox.find(start);

    let pasted = eventually("a line to paste", || find("curl "));
    let run = Command::new("bash").arg("-c").arg(&pasted).output().expect("bash runs");
    assert!(run.status.success(), "{run:?}");
    let seen = eventually("the inbox tells", || find("inbox: "));
    assert!(seen.contains("conversion.created evt_"), "{seen}");
    assert!(seen.ends_with("attempt 1, signature verified"), "{seen}");

    // The README shows the same line, with the default ports and a placeholder for the key.
    let key = eventually("a key", || find("  lhk_"));
    let server = eventually("an address", || find("ledgerhook listens on http://"));
    let server = server.rsplit('/').next().expect("an address").to_owned();
    let told = eventually("an inbox", || find("The inbox on "));
    let address = told.split(' ').nth(3).expect("an address");
    let shown = pasted
        .replace(key.trim(), "$KEY")
        .replace(&server, "127.0.0.1:8080")
        .replace(address, "127.0.0.1:8081");
    assert_eq!(shown, readme_line("curl -sS -H \"Authorization: Bearer $KEY\" --json"));

    // And the other two lines of the README answer.
    for path in ["/api/deliveries", "/api/log/verify"] {
        let line =
            readme_line("curl -sS -H \"Authorization: Bearer $KEY\" http://127.0.0.1:8080/api/deliveries");
        let line = line.replace("/api/deliveries", path).replace("$KEY", key.trim());
        let line = line.replace("127.0.0.1:8080", &server).replace("curl -sS", "curl -sS --fail-with-body");
        assert!(include_str!("../../README.md").contains(path));
        let run = Command::new("bash").arg("-c").arg(&line).output().expect("bash runs");
        assert!(run.status.success(), "{path}: {run:?}");
    }
}

/// Issue 2, item 8.
#[test]
fn the_demo_ends_by_itself_and_finds_everything_as_promised() {
    let run = Command::new(binary()).args(["demo", "--speed", "50"]).output().expect("the demo runs");
    let text = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{text}\n{}", String::from_utf8_lossy(&run.stderr));
    for part in ["retry:", "failover:", "dead letters:", "the log is whole", "digest "] {
        assert!(text.contains(part), "{part}: {text}");
    }
}
