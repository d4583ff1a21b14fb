//! One Apache Kafka per test binary, started by `scripts/kafka`.

use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::OnceLock;

/// A running Kafka. It is stopped when the test process ends, however it ends: a shell waits at the other end of
/// `_alive` and stops exactly this cluster when the pipe closes.
pub(crate) struct Kafka {
    /// `host:port`.
    pub(crate) bootstrap: String,
    /// Process id of the broker.
    pub(crate) pid: u32,
    _alive: ChildStdin,
}

/// Starts Kafka at the first call, hands out the same one later. `None`, loudly, only where there is no script or
/// `KELD_TEST_KAFKA=skip` says so; a Kafka that does not start fails the test.
#[expect(clippy::print_stdout, reason = "a skipped test says so, loudly")]
pub(crate) fn start_kafka() -> Option<&'static Kafka> {
    static KAFKA: OnceLock<Result<Kafka, String>> = OnceLock::new();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/kafka");
    if std::env::var("KELD_TEST_KAFKA").as_deref() == Ok("skip") || !script.exists() {
        println!("SKIPPED: KELD_TEST_KAFKA=skip, or no {}; this test checked NOTHING", script.display());
        return None;
    }
    match KAFKA.get_or_init(|| start(&script)) {
        Ok(kafka) => Some(kafka),
        Err(why) => panic!("{why}"),
    }
}

fn start(script: &Path) -> Result<Kafka, String> {
    let dir = std::env::temp_dir().join(format!("keld-kafka-{}", std::process::id()));
    std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    // Before the start: a start that fails half-way leaves processes too.
    let alive = stop_at_exit(script, &dir)?;
    let output = Command::new(script).arg("start").arg(&dir).stdin(Stdio::null()).output();
    let output = output.map_err(|e| format!("{}: {e}", script.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let value = |name: &str| text.lines().find_map(|l| l.trim().strip_prefix(name)).map(str::to_owned);
    match (value("bootstrap="), value("pid=").and_then(|p| p.parse().ok())) {
        (Some(bootstrap), Some(pid)) if output.status.success() => Ok(Kafka { bootstrap, pid, _alive: alive }),
        _ => Err(format!("scripts/kafka start: {}\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr))),
    }
}

pub(crate) fn stop_at_exit(script: &Path, dir: &Path) -> Result<ChildStdin, String> {
    let mut child = Command::new("sh")
        .args(["-c", r#"cat > /dev/null; "$0" stop "$1"; rm -rf "$1""#])
        .arg(script)
        .arg(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| format!("sh: {e}"))?;
    child.stdin.take().ok_or_else(|| "no pipe to the shell".to_owned())
}
