//! The real binary on a data folder of its own: started, killed, started again.

use super::{Api, eventually};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    env,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Mutex},
    thread,
};
use tempfile::TempDir;

/// The operator key of every server in the tests.
pub(crate) const OPERATOR_KEY: &str = "op_tests_0123456789abcdefghijklmnop";

/// A server process; it is killed when this is dropped, and its log is printed if the test failed.
pub(crate) struct TestServer {
    pub data_dir: PathBuf,
    pub address: SocketAddr,
    child: Child,
    options: Vec<String>,
    variables: Vec<(String, String)>,
    lines: Arc<Mutex<Vec<String>>>,
    _folder: Option<TempDir>,
}

/// What a server is to be started with.
#[derive(Default)]
pub(crate) struct Start {
    options: Vec<String>,
    variables: Vec<(String, String)>,
    data_dir: Option<PathBuf>,
    makes_its_key: bool,
}

impl Start {
    /// As on a first run: the operator key is made, and shown.
    pub(crate) fn without_key(mut self) -> Self {
        self.makes_its_key = true;
        self
    }

    pub(crate) fn option(mut self, option: &str) -> Self {
        self.options.push(option.to_owned());
        self
    }

    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// On a folder that outlives the server.
    pub(crate) fn on(mut self, data_dir: &Path) -> Self {
        self.data_dir = Some(data_dir.to_owned());
        self
    }

    #[track_caller]
    pub(crate) fn start(self) -> TestServer {
        self.try_start().unwrap_or_else(|(status, log)| panic!("the server ended with {status}:\n{log}"))
    }

    /// A server that is ready, or how it ended and what it wrote.
    #[track_caller]
    pub(crate) fn try_start(self) -> Result<TestServer, (ExitStatus, String)> {
        let Self { options, mut variables, data_dir, makes_its_key } = self;
        let folder = data_dir.is_none().then(|| tempfile::tempdir().expect("a folder"));
        let data_dir = data_dir.unwrap_or_else(|| folder.as_ref().expect("a folder").path().join("data"));
        if !makes_its_key {
            variables.insert(0, ("LEDGERHOOK_OPERATOR_KEY".into(), OPERATOR_KEY.into()));
        }
        let lines = Arc::default();
        let (child, readers) = spawn(&data_dir, &options, &variables, &lines);
        let address = SocketAddr::from(([0; 4], 0));
        let mut server = TestServer { data_dir, address, child, options, variables, lines, _folder: folder };
        match server.wait_until_ready() {
            Ok(address) => server.address = address,
            Err(status) => {
                // Whatever it wrote has to be read to its end first.
                for reader in readers {
                    reader.join().expect("a reader");
                }
                return Err((status, server.log()));
            }
        }
        Ok(server)
    }
}

impl TestServer {
    /// A server that may deliver to receivers on this machine.
    #[track_caller]
    pub(crate) fn start() -> Self {
        Self::with().start()
    }

    /// One that may deliver to public addresses only.
    pub(crate) fn with_nothing() -> Start {
        Start::default()
    }

    pub(crate) fn with() -> Start {
        Start::default().option("--allow-http").option("--egress-allow").option("127.0.0.1")
    }

    /// The same, which also trusts [`Receiver::https`](super::Receiver::https).
    pub(crate) fn https() -> Start {
        let roots = super::tls::roots().to_str().expect("a path").to_owned();
        Self::with().option("--tls-roots").option(&roots)
    }

    /// The operator's way in.
    pub(crate) fn api(&self) -> Api {
        Api::new(self.address, OPERATOR_KEY)
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("a process to kill");
        self.child.wait().expect("its end");
    }

    /// Starts again on the same folder, on another port.
    #[track_caller]
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.launch();
    }

    /// Starts a server that is down.
    #[track_caller]
    pub(crate) fn launch(&mut self) {
        let _ = std::fs::remove_file(self.data_dir.join("address"));
        (self.child, _) = spawn(&self.data_dir, &self.options, &self.variables, &self.lines);
        self.address = self
            .wait_until_ready()
            .unwrap_or_else(|status| panic!("the server ended with {status}:\n{}", self.log()));
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("a process to signal");
    }

    /// SIGTERM, then its exit.
    #[track_caller]
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait_for_exit()
    }

    #[track_caller]
    pub(crate) fn wait_for_exit(&mut self) -> ExitStatus {
        eventually("the server ends", || self.child.try_wait().expect("a process"))
    }

    /// Runs another verb on the same folder.
    pub(crate) fn verb(&self, words: &[&str]) -> Output {
        command(&self.data_dir, &[], &[]).args(words).output().expect("the binary runs")
    }

    /// What it wrote so far, to both streams.
    pub(crate) fn log(&self) -> String {
        self.lines.lock().expect("lines").join("\n")
    }

    /// A line of `/proc/<pid>/status`, in KiB.
    pub(crate) fn memory_kib(&self, line: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("a process");
        let found = status.lines().find_map(|text| text.strip_prefix(line)).expect("a line");
        let number = found.trim_start_matches(':').split_whitespace().next().and_then(|n| n.parse().ok());
        number.expect("a number")
    }

    #[track_caller]
    fn wait_until_ready(&mut self) -> Result<SocketAddr, ExitStatus> {
        let file = self.data_dir.join("address");
        super::within(std::time::Duration::from_mins(2), "the server is ready", || {
            if let Some(status) = self.child.try_wait().expect("a process") {
                return Some(Err(status));
            }
            std::fs::read_to_string(&file).ok()?.trim().parse().ok().map(Ok)
        })
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- what the server wrote ---\n{}\n---", self.log());
        }
    }
}

/// The binary under test: the one that cargo built, or another one to be measured.
pub(crate) fn binary() -> PathBuf {
    env::var_os("TEST_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_ledgerhook").into(), PathBuf::from)
}

/// The binary on a folder, with no settings but the given ones.
pub(crate) fn command(data_dir: &Path, options: &[String], variables: &[(String, String)]) -> Command {
    let mut command = Command::new(binary());
    env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("LEDGERHOOK_")).for_each(
        |(name, _)| {
            command.env_remove(name);
        },
    );
    command.arg("--data-dir").arg(data_dir).args(options);
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    command
}

fn spawn(
    data_dir: &Path,
    options: &[String],
    variables: &[(String, String)],
    lines: &Arc<Mutex<Vec<String>>>,
) -> (Child, [thread::JoinHandle<()>; 2]) {
    let mut command = command(data_dir, options, variables);
    if !options.iter().any(|option| option == "--listen") {
        command.args(["--listen", "127.0.0.1:0"]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    let out = collect(child.stdout.take().expect("stdout"), Arc::clone(lines));
    let err = collect(child.stderr.take().expect("stderr"), Arc::clone(lines));
    (child, [out, err])
}

fn collect(stream: impl Read + Send + 'static, lines: Arc<Mutex<Vec<String>>>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            lines.lock().expect("lines").push(line);
        }
    })
}
