//! `keld health`: is an instance well? For health checks of containers, which have no other program to ask with.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;

use serde_json::Value;

use super::HealthArgs;
use super::style;
use crate::{Error, Kind, Result};

/// Largest answer that is looked at, bytes.
const LARGEST: u64 = 1 << 20;

/// Runs the command: exit code 0 if the instance says that it is well.
///
/// # Errors
/// If it does not answer in time, or says why it is not ready.
pub fn run(args: &HealthArgs) -> Result<ExitCode> {
    let base = match &args.url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => format!("http://{}", reachable(args.config.load()?.instance.listen)),
    };
    let path = if args.ready { "/health/ready" } else { "/health/live" };
    let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(args.timeout)).build();
    let silent = |e: ureq::Error| {
        Error::new(Kind::NotFound, format!("no instance answers at {base}"))
            .because(e)
            .advise("give its address with --url or KELD_URL")
    };
    let mut response = ureq::Agent::from(config).get(format!("{base}{path}")).call().map_err(silent)?;
    let text = response.body_mut().with_config().limit(LARGEST).read_to_string().map_err(silent)?;
    let said: Value = serde_json::from_str(&text).unwrap_or_default();
    if !response.status().is_success() {
        let why = said["detail"].as_str().map_or_else(|| format!("it answers {}", response.status()), str::to_owned);
        return Err(Error::refused(format!("the instance at {base} is not well: {why}")));
    }
    style::out(&format!("{}\n", said["status"].as_str().unwrap_or("well")))?;
    Ok(ExitCode::SUCCESS)
}

/// Where this machine reaches who listens there: "any address" is none that can be asked.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_everywhere_is_asked_on_loopback() {
        let asked = |listen: &str| reachable(listen.parse().unwrap()).to_string();
        assert_eq!(asked("0.0.0.0:7070"), "127.0.0.1:7070");
        assert_eq!(asked("[::]:7070"), "[::1]:7070");
        assert_eq!(asked("10.0.0.5:80"), "10.0.0.5:80");
    }
}
