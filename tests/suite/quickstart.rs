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

#[test]
fn one_command_and_one_pasted_line_give_a_verified_delivery() {
    let folder = tempfile::tempdir().expect("a folder");
    assert!(include_str!("../../README.md").contains("\ncargo run --release -- --inbox\n"));
    let mut command = Command::new(binary());
    command.args(["--inbox=127.0.0.1:0", "--listen", "127.0.0.1:0"]).current_dir(folder.path());
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().expect("the binary starts");
    let output = child.stdout.take().expect("stdout");
    let _process = Process(child);
    let lines = Arc::new(Mutex::new(Vec::new()));
    let collected = Arc::clone(&lines);
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            collected.lock().expect("lines").push(line);
        }
    });
    let find = |start: &str| {
        let lines = lines.lock().expect("lines");
        lines.iter().find(|line| line.starts_with(start)).cloned()
    };

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
    let inbox = eventually("an inbox", || find("The inbox on "));
    let inbox = inbox.split(' ').nth(3).expect("an address").to_owned();
    let shown = pasted
        .replace(key.trim(), "$KEY")
        .replace(&server, "127.0.0.1:8080")
        .replace(&inbox, "127.0.0.1:8081");
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
