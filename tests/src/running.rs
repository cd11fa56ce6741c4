//! A program that runs while a test looks at it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// A program that was left running; killed when dropped.
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts a command that writes to `log`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(mut command: Command, log: PathBuf) -> Running {
        let file = std::fs::File::create(&log).expect("make a log file");
        let out = file.try_clone().expect("share the log file");
        command.stdout(out).stderr(file);
        let child = command.spawn().expect("start forewarn");
        Running { child, log }
    }

    /// Sends SIGKILL and waits.
    ///
    /// # Panics
    /// When that fails.
    pub fn kill(&mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }

    /// Sends SIGTERM and waits for the exit code.
    ///
    /// # Panics
    /// When it does not end within 60 s.
    pub fn terminate(&mut self) -> Option<i32> {
        self.signal("TERM");
        self.wait(Duration::from_secs(60))
    }

    /// Sends a signal: "STOP" lets it stand still until "CONT".
    ///
    /// # Panics
    /// When that fails.
    pub fn signal(&self, name: &str) {
        let (signal, pid) = (format!("-{name}"), self.child.id().to_string());
        let sent = Command::new("kill").args([&signal, &pid]).status();
        assert!(sent.expect("send a signal").success(), "{signal}");
    }

    /// Waits for the end.
    ///
    /// # Panics
    /// When it lasts too long.
    pub fn wait(&mut self, at_most: Duration) -> Option<i32> {
        let until = Instant::now() + at_most;
        loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                return status.code();
            }
            assert!(Instant::now() < until, "still running: {}", self.output());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether it still runs.
    ///
    /// # Panics
    /// When the system does not say.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("wait").is_none()
    }

    /// What its telemetry server answers to a path: status and body.
    ///
    /// # Panics
    /// When it does not answer.
    #[track_caller]
    pub fn get(&mut self, path: &str) -> (u16, String) {
        const SERVES: &str = "/readyz address=";
        self.wait_for(SERVES, Duration::from_secs(30));
        let output = self.output();
        let (_, address) = output.split_once(SERVES).expect("the address");
        let address = address.split_whitespace().next().expect("the address");
        let mut stream = TcpStream::connect(address).expect("reach the telemetry server");
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").expect("ask");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("read the answer");
        let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
        let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
        (status.expect("a status"), body.to_owned())
    }

    /// Waits until a metric without labels has reached `at_least`; gives its value.
    ///
    /// # Panics
    /// When that does not happen in time.
    #[track_caller]
    pub fn wait_for_metric(&mut self, name: &str, at_least: f64, at_most: Duration) -> f64 {
        let until = Instant::now() + at_most;
        loop {
            let (_, metrics) = self.get("/metrics");
            let mut pairs = metrics.lines().filter_map(|line| line.split_once(' '));
            let found = pairs.find(|(held, _)| *held == name);
            let value = found.and_then(|(_, value)| value.parse::<f64>().ok());
            if let Some(value) = value.filter(|&value| value >= at_least) {
                return value;
            }
            assert!(
                Instant::now() < until,
                "{name} is {value:?}: {}",
                self.output()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until it handles SIGTERM itself.
    ///
    /// # Panics
    /// When that does not happen in a minute, or the process ends.
    #[track_caller]
    pub fn wait_for_handler(&mut self) {
        const SIGTERM: u64 = 1 << 14;
        let status = format!("/proc/{}/status", self.child.id());
        self.until("a handler of SIGTERM", Duration::from_secs(60), || {
            let status = std::fs::read_to_string(&status).ok()?;
            let caught = status
                .lines()
                .find_map(|line| line.strip_prefix("SigCgt:"))?;
            let caught = u64::from_str_radix(caught.trim(), 16).ok()?;
            (caught & SIGTERM != 0).then_some(())
        });
    }

    /// Waits until `/readyz` says ready.
    ///
    /// # Panics
    /// When that does not happen in time.
    #[track_caller]
    pub fn wait_until_ready(&mut self, at_most: Duration) {
        let until = Instant::now() + at_most;
        loop {
            let (status, body) = self.get("/readyz");
            if status == 200 {
                return;
            }
            assert!(Instant::now() < until, "{body}\n{}", self.output());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What it has written so far, stdout and stderr together.
    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits, while it runs, until `found` gives something.
    ///
    /// # Panics
    /// When that does not happen in time, or the process ends.
    #[track_caller]
    pub fn until<T>(
        &mut self,
        what: &str,
        at_most: Duration,
        mut found: impl FnMut() -> Option<T>,
    ) -> T {
        let until = Instant::now() + at_most;
        loop {
            if let Some(found) = found() {
                return found;
            }
            assert!(Instant::now() < until, "{what}: {}", self.output());
            assert!(self.is_running(), "{what}: {}", self.output());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until its output holds `words`.
    ///
    /// # Panics
    /// When that does not happen in time.
    #[track_caller]
    pub fn wait_for(&mut self, words: &str, at_most: Duration) {
        let until = Instant::now() + at_most;
        while !self.output().contains(words) {
            assert!(
                Instant::now() < until,
                "{words:?} did not come: {}",
                self.output()
            );
            assert!(
                self.is_running() || self.output().contains(words),
                "ended: {}",
                self.output()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
