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
    let mut command = Command::new(cargo);
    // What cargo says of this package to the programs that it runs would make some build scripts run again, and with
    // them half of the workspace.
    for (name, _) in std::env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
        {
            command.env_remove(name);
        }
    }
    let status = command
        .args(arguments)
        .status()
        .with_context(|| format!("`{shown}` did not start"))?;
    eprintln!("--- {shown}: {} s", began.elapsed().as_secs());
    if !status.success() {
        bail!("`{shown}` failed");
    }
    Ok(())
}
