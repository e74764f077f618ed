//! Other languages as judges: one process, many lines.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

/// Feeds `lines` to a program and answers what it prints, line by line.
///
/// A machine without the program skips the test and says so on standard error; with `REQUIRE_TOOLS` set, as in
/// CI, that is a failure.
pub(crate) fn answers(program: &str, arguments: &[&str], lines: &[String]) -> Option<Vec<String>> {
    let command = Command::new(program).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = match command {
        Ok(child) => child,
        Err(error) => {
            assert!(std::env::var_os("REQUIRE_TOOLS").is_none(), "`{program}` is required: {error}");
            eprintln!(
                "\n*** SKIPPED: `{program}` cannot be run ({error}); nothing is checked against it ***\n"
            );
            return None;
        }
    };
    let mut stdin = child.stdin.take().unwrap();
    let input = lines.join("\n") + "\n";
    let feeder = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap().unwrap();
    assert!(output.status.success(), "{program} failed");
    let answers: Vec<_> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(answers.len(), lines.len(), "lines of {program}");
    Some(answers)
}
