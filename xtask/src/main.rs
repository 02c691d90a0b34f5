//! `cargo xtask verify` (never writes) and `cargo xtask fix` (does). Plain cargo commands, in the order that fails fastest.

use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result, bail};

#[cfg(test)]
mod tidy;

const VERIFY: &[&[&str]] = &[
    &["fmt", "--all", "--check"],
    &["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"],
    &["test", "--workspace"],
];

const FIX: &[&[&str]] = &[
    &[
        "clippy",
        "--workspace",
        "--all-targets",
        "--fix",
        "--allow-dirty",
        "--allow-staged",
    ],
    &["fmt", "--all"],
];

fn main() -> ExitCode {
    let task = std::env::args().nth(1).unwrap_or_default();
    let steps = match task.as_str() {
        "verify" => VERIFY,
        "fix" => FIX,
        _ => {
            eprintln!(
                "cargo xtask verify   format, lints and all tests; writes nothing\ncargo xtask fix      applies what can be mended by itself"
            );
            return ExitCode::from(2);
        }
    };
    match steps.iter().try_for_each(|step| cargo(step)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask {task}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn cargo(arguments: &[&str]) -> Result<()> {
    let shown = format!("cargo {}", arguments.join(" "));
    eprintln!("--- {shown}");
    let began = Instant::now();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(arguments)
        .status()
        .with_context(|| format!("`{shown}` did not start"))?;
    eprintln!("--- {shown}: {} s", began.elapsed().as_secs());
    if !status.success() {
        bail!("`{shown}` failed");
    }
    Ok(())
}
