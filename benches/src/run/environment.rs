//! Where a run ran.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::stage::{Place, Stage};
use crate::machine::{file_system, load_average};
use crate::report::Environment;

fn line_of(file: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The commit of the working tree that the harness was built from; `-dirty` if there is more in it.
fn commit() -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git")
            .arg("-C")
            .arg(env!("CARGO_MANIFEST_DIR"))
            .args(args)
            .output()
            .ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    git(&["describe", "--always", "--dirty", "--abbrev=12"]).unwrap_or_else(|| "unknown".to_owned())
}

/// This harness, as it is compared.
pub fn build() -> String {
    let kind = if cfg!(debug_assertions) { "debug" } else { "release" };
    format!("{} ({kind})", env!("CARGO_PKG_VERSION"))
}

/// What a node's binary is, by its path and the time it was made.
fn binary(path: &Path) -> String {
    let made = fs::metadata(path).and_then(|about| about.modified()).ok();
    let at = made
        .and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok())
        .map_or(0, |since| since.as_secs());
    format!("{}, made {}", path.display(), moment(at))
}

/// Seconds since 1970 as a date and a time, UTC.
fn moment(unix_s: u64) -> String {
    // Civil from days, by Howard Hinnant.
    let days = (unix_s / 86_400) as i64 + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let s = unix_s % 86_400;
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC",
        s / 3_600,
        s / 60 % 60,
        s % 60
    )
}

/// Looks.
pub fn look(stage: &Stage, place: &Place, load_before: String) -> Environment {
    let memory = line_of("/proc/meminfo", "MemTotal").unwrap_or_default();
    let memory_kib: f64 = memory
        .split_whitespace()
        .next()
        .and_then(|kib| kib.parse().ok())
        .unwrap_or(0.0);
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Environment {
        at: moment(node::auth::unix_now_s()),
        machine: line_of("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        cores: std::thread::available_parallelism().map_or(0, usize::from),
        memory_gib: memory_kib / 1024.0 / 1024.0,
        kernel: release.trim().to_owned(),
        file_system: stage.data.as_deref().map_or_else(|| "unknown".to_owned(), file_system),
        commit: commit(),
        build: build(),
        binary: match place {
            Place::Own { binary: path, .. } => binary(path),
            Place::Target { .. } => "the target's".to_owned(),
        },
        nodes: stage.urls.clone(),
        load_before,
        load_after: load_average(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_dates() {
        assert_eq!(moment(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(moment(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(moment(1_795_245_296), "2026-11-21 07:14:56 UTC");
    }
}
