//! Disks for the nodes of a chaos test: full, slow, failing, losing power, or rotten.
//!
//! | fault | here | what is real about it |
//! |---|---|---|
//! | power loss | [`loop_disk`] | ext4 or xfs, shut down without a flush, its journal replayed at the next mount |
//! | disk full | [`loop_disk`] | the file system itself says so |
//! | slow disk | [`throttle`] | the block layer makes every write to the device wait |
//! | fsync fails, writes fail, one slow file | [`faulty_fs`] | a FUSE layer answers in the disk's place, and forgets what was not synced |
//! | bit rot, torn tails | [`damage`] | bytes are changed while the node is stopped |
//!
//! All of it gives back what it took (mounts, loop devices, control groups) when it is dropped, a panic included.

pub mod damage;
pub mod faulty_fs;
pub mod loop_disk;
pub mod throttle;

use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Runs a tool; what it said on failure is in the error.
fn run(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("{:?} did not start", command.get_program()))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Why a tool cannot be used here, if it cannot.
fn missing_tool(tools: &[&str]) -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("it needs root".to_owned());
    }
    let path = std::env::var_os("PATH")?;
    let is_there = |tool: &str| std::env::split_paths(&path).any(|folder| folder.join(tool).exists());
    let missing = tools.iter().find(|tool| !is_there(tool))?;
    Some(format!("{missing} is not installed"))
}

/// Says that a test did not run, so that nobody takes silence for success.
#[cfg(test)]
fn is_skipped(test: &str, reason: Option<String>) -> bool {
    use std::io::Write;
    if let Some(reason) = &reason {
        let _ = writeln!(std::io::stderr(), "\n!!! SKIPPED: {test} did not run: {reason} !!!\n");
    }
    reason.is_some()
}
