//! The `process_*` metrics that every Prometheus client has, read from `/proc` at each scrape.

use std::fmt::Write;

/// Clock ticks per second in `/proc/<pid>/stat`: 100 on every Linux that Rust's standard library knows.
const TICKS_PER_SECOND: f64 = 100.0;

/// Appends them. On a system without `/proc` it appends nothing.
pub fn render_into(text: &mut String) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let in_bytes = |key: &str| status_number(&status, key).map(|kib| kib * 1024.0);
    append(
        text,
        "process_resident_memory_bytes",
        "gauge",
        "Resident memory.",
        in_bytes("VmRSS:"),
    );
    append(
        text,
        "process_virtual_memory_bytes",
        "gauge",
        "Virtual memory.",
        in_bytes("VmSize:"),
    );
    append(
        text,
        "process_threads",
        "gauge",
        "Threads.",
        status_number(&status, "Threads:"),
    );

    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    append(
        text,
        "process_cpu_seconds_total",
        "counter",
        "Processor time, user and system.",
        cpu_seconds(&stat),
    );
    append(
        text,
        "process_start_time_seconds",
        "gauge",
        "Start of the process, Unix time.",
        start_time(&stat),
    );

    let open = std::fs::read_dir("/proc/self/fd")
        .map(|entries| entries.count() as f64)
        .ok();
    append(text, "process_open_fds", "gauge", "Open file descriptors.", open);
    append(
        text,
        "process_max_fds",
        "gauge",
        "Most file descriptors that may be open.",
        max_fds(),
    );
}

fn append(text: &mut String, name: &str, kind: &str, help: &str, value: Option<f64>) {
    if let Some(value) = value {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
    }
}

fn status_number(status: &str, key: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Fields of `/proc/self/stat` after the name, which is in parentheses and may hold anything.
fn field(stat: &str, number: usize) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    // The first field after the name is the third.
    rest.split_whitespace().nth(number - 3)?.parse().ok()
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    Some((field(stat, 14)? + field(stat, 15)?) / TICKS_PER_SECOND)
}

fn start_time(stat: &str) -> Option<f64> {
    let system = std::fs::read_to_string("/proc/stat").ok()?;
    let booted: f64 = system
        .lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()?;
    Some(booted + field(stat, 22)? / TICKS_PER_SECOND)
}

fn max_fds() -> Option<f64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_proc_says_is_read() {
        let mut text = String::new();
        render_into(&mut text);
        for name in [
            "process_resident_memory_bytes",
            "process_virtual_memory_bytes",
            "process_threads",
            "process_cpu_seconds_total",
            "process_start_time_seconds",
            "process_open_fds",
            "process_max_fds",
        ] {
            assert!(text.contains(&format!("\n{name} ")), "{name} in\n{text}");
        }
        let stat = "1 (a) b) S 1 1 1 0 -1 0 0 0 0 0 150 50 0 0 20 0 1 0 300 0";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(field(stat, 22), Some(300.0));
    }
}
