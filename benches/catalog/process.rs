//! The processes under test: starting, stopping, and what they use.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Options, Result};

/// Clock ticks a second in `/proc/PID/stat`; 100 on every Linux that Rust's standard library supports.
const TICKS: f64 = 100.0;

/// What a process has used since it began.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// User and system time, seconds.
    pub(crate) cpu: f64,
    /// Peak resident memory, bytes.
    pub(crate) peak_rss: u64,
}

impl Usage {
    /// CPU seconds since an earlier look.
    pub(crate) fn since(&self, earlier: &Usage) -> f64 {
        self.cpu - earlier.cpu
    }
}

/// What process `pid` has used so far.
pub(crate) fn usage(pid: u32) -> Result<Usage> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The command's name, in parentheses, may hold blanks; fields are counted from behind it.
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok()).ok_or("unreadable /proc/PID/stat");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap_or("0").trim().trim_end_matches(" kB");
    Ok(Usage { cpu: (ticks(11)? + ticks(12)?) / TICKS, peak_rss: peak.parse::<u64>()? * 1024 })
}

/// A broker, started for one run or there before.
#[derive(Debug)]
pub(crate) struct Kafka {
    /// The script and the folder of one that was started.
    started: Option<(PathBuf, PathBuf)>,
    /// Its address.
    pub(crate) bootstrap: String,
    /// Its process.
    pub(crate) pid: u32,
}

impl Kafka {
    /// Starts one broker that keeps its data in `dir`.
    pub(crate) fn start(root: &Path, dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let script = root.join("scripts/kafka");
        // Scheduled like what it serves: see `scripts/kafka --help`.
        let mut start = Command::new(&script);
        let output = start.env("KELD_KAFKA_SESSION", "same").arg("start").arg(dir).stderr(Stdio::inherit()).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            return Err(format!("scripts/kafka start failed: {}", text.trim()).into());
        }
        Self::printed(&text, Some((script, dir.to_owned())))
    }

    /// The one that a file with what `scripts/kafka start` printed speaks of.
    pub(crate) fn running(printed: &Path) -> Result<Self> {
        Self::printed(&std::fs::read_to_string(printed)?, None)
    }

    fn printed(text: &str, started: Option<(PathBuf, PathBuf)>) -> Result<Self> {
        let value = |name: &str| text.lines().find_map(|l| l.strip_prefix(name)).map(str::to_owned);
        match (value("bootstrap="), value("pid=")) {
            (Some(bootstrap), Some(pid)) => Ok(Self { started, bootstrap, pid: pid.parse()? }),
            _ => Err(format!("bootstrap= or pid= is missing in {:?}", text.trim()).into()),
        }
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        if let Some((script, dir)) = &self.started {
            let _ = Command::new(script).arg("stop").arg(dir).status();
        }
    }
}

/// `keld run`, started for one run.
#[derive(Debug)]
pub(crate) struct Keld {
    child: Child,
    log: PathBuf,
    /// Where it answers.
    pub(crate) url: String,
    /// When it was started.
    pub(crate) started: Instant,
}

impl Keld {
    /// Starts the built binary with the state in `dir`, if there is any.
    pub(crate) fn start(options: &Options, root: &Path, dir: &Path, bootstrap: &str) -> Result<Self> {
        let listen = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let log = dir.join("keld.log");
        let output = File::options().create(true).append(true).open(&log)?;
        let binary = options.keld.clone().unwrap_or_else(|| env!("CARGO_BIN_EXE_keld").into());
        let mut command = Command::new(binary);
        command.args(["run", "--config"]).arg(root.join(&options.config)).current_dir(root);
        let settings = [
            "broker.kind=kafka".to_owned(),
            format!("broker.bootstrap_servers={bootstrap}"),
            format!("instance.data_dir={}", dir.join("state").display()),
            format!("instance.listen={listen}"),
        ];
        for setting in settings.iter().chain(&options.set) {
            command.args(["--set", setting]);
        }
        // Settings come from the flags above alone.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("KELD_") && name != "KELD_LOG") {
            command.env_remove(name);
        }
        let started = Instant::now();
        let child = command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).spawn()?;
        Ok(Self { child, log, url: format!("http://{listen}"), started })
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// An error with the end of its log if it has ended.
    pub(crate) fn check_alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(format!("keld ended with {status}:\n{}", self.last_lines()).into()),
        }
    }

    fn last_lines(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Ends it with SIGKILL.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to end in order, and waits for that.
    pub(crate) fn stop(mut self) -> Result<()> {
        let asked = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status()?;
        let since = Instant::now();
        while asked.success() && since.elapsed() < Duration::from_secs(60) {
            if let Some(status) = self.child.try_wait()? {
                return match status.success() {
                    true => Ok(()),
                    false => Err(format!("keld ended with {status}:\n{}", self.last_lines()).into()),
                };
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err("keld did not end within a minute of SIGTERM".into())
    }
}

impl Drop for Keld {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
