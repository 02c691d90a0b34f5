//! `cargo xtask verify` (never writes) and `cargo xtask fix` (does): plain cargo commands, in the order that fails fastest.
//! `cargo xtask chaos`, `chaos-soak` and `sim` build what they need and run it.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

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

const USAGE: &str = "\
cargo xtask verify             format, lints and all tests; writes nothing
cargo xtask fix                applies what can be mended by itself
cargo xtask chaos              every scenario of faults on real processes, about ten minutes; as root, with namespaces
cargo xtask chaos run NAME …   one scenario: --seed N --for SECONDS --only FAULT,…; `chaos list` names them
cargo xtask chaos bugs         known bugs put back in, each of which must be found
cargo xtask chaos-soak HOURS   scenarios with all faults, one seed after another
cargo xtask sim SEEDS          the simulations of routing and cluster, with so many seeds; FROM..TO for some of them
    --old COMMIT               (chaos, chaos-soak) the build that rolling upgrades begin with";

/// Where a machine does not allow what chaos needs, the harness says so and ends like this.
const SKIPPED: i32 = 77;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["verify"] => VERIFY.iter().try_for_each(|step| cargo(step)),
        ["fix"] => FIX.iter().try_for_each(|step| cargo(step)),
        ["chaos", rest @ ..] => chaos(
            if rest.first().is_none_or(|word| word.starts_with('-')) {
                "suite"
            } else {
                ""
            },
            rest,
        ),
        ["chaos-soak", rest @ ..] if !rest.is_empty() => chaos("soak", rest),
        ["sim", seeds] => simulate(seeds),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask {}: {error:#}", words.join(" "));
            ExitCode::FAILURE
        }
    }
}

/// As the tests of the workspace do, so that nothing is built twice.
const EVERYTHING: &[&str] = &["build", "--workspace", "--bins", "--tests"];

/// Builds nodes and harness, and runs the harness.
fn chaos(what: &str, rest: &[&str]) -> Result<()> {
    let target = target_folder()?;
    let mut arguments: Vec<String> = rest.iter().map(|word| (*word).to_owned()).collect();
    if let Some(at) = arguments.iter().position(|word| word == "--old") {
        let commit = arguments.get(at + 1).context("--old names a commit")?.clone();
        arguments[at + 1] = older_build(&commit, &target)?.display().to_string();
    }
    cargo(EVERYTHING)?;
    let mut command = Command::new(target.join("debug/kaiwa-chaos"));
    command.args((!what.is_empty()).then_some(what)).args(arguments);
    let status = command.status().context("the harness did not start")?;
    // Skipped is not passed, but it is no failure either: the harness has said so loudly.
    ensure!(
        status.success() || status.code() == Some(SKIPPED),
        "the harness ended with {status}"
    );
    Ok(())
}

/// `kaiwa` as it was at a commit, or at a path. Built into the same folder as everything, which has most of what it needs; so it comes
/// before today's build, which then puts its own binaries in place.
fn older_build(commit: &str, target: &Path) -> Result<PathBuf> {
    if Path::new(commit).is_file() {
        return Ok(commit.into());
    }
    let folder = target.join("older").join(commit);
    let binary = folder.join("kaiwa");
    if binary.is_file() {
        return Ok(binary);
    }
    let source = folder.join("source");
    std::fs::create_dir_all(&source)?;
    let archive = Command::new("git")
        .args(["archive", "--format=tar", commit])
        .output()
        .context("git did not start")?;
    ensure!(
        archive.status.success(),
        "there is no commit {commit}: {}",
        String::from_utf8_lossy(&archive.stderr)
    );
    let packed = folder.join("source.tar");
    std::fs::write(&packed, archive.stdout)?;
    let unpacked = Command::new("tar")
        .arg("-xf")
        .arg(&packed)
        .arg("-C")
        .arg(&source)
        .status();
    ensure!(
        unpacked.context("tar did not start")?.success(),
        "{commit} was not unpacked"
    );
    let mut build = plain_cargo();
    build
        .args(EVERYTHING)
        .arg("--manifest-path")
        .arg(source.join("Cargo.toml"));
    build.arg("--target-dir").arg(target);
    ensure!(
        build.status().context("cargo did not start")?.success(),
        "{commit} was not built"
    );
    std::fs::copy(target.join("debug/kaiwa"), &binary).context("the older build has no binary")?;
    Ok(binary)
}

/// Both simulations, optimised: many seeds are the point.
fn simulate(seeds: &str) -> Result<()> {
    let range = match (seeds.parse::<u64>(), seeds.contains("..")) {
        (Ok(count), _) => format!("0..{count}"),
        (Err(_), true) => seeds.to_owned(),
        (Err(_), false) => bail!("`{seeds}` is neither a number of seeds nor FROM..TO"),
    };
    for package in ["kaiwa-routing", "kaiwa-cluster"] {
        let test = [
            "test",
            "--release",
            "--package",
            package,
            "--test",
            "simulation",
            "--",
            "--nocapture",
        ];
        cargo_with(&test, &[("KAIWA_SIMULATION_SEEDS", &range)])?;
    }
    Ok(())
}

fn target_folder() -> Result<PathBuf> {
    let metadata = cargo_metadata::MetadataCommand::new()
        .no_deps()
        .exec()
        .context("to find the target folder")?;
    Ok(metadata.target_directory.into_std_path_buf())
}

fn cargo(arguments: &[&str]) -> Result<()> {
    cargo_with(arguments, &[])
}

fn cargo_with(arguments: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    let shown = format!("cargo {}", arguments.join(" "));
    eprintln!("--- {shown}");
    let began = Instant::now();
    let status = plain_cargo()
        .args(arguments)
        .envs(environment.iter().copied())
        .status()
        .with_context(|| format!("`{shown}` did not start"))?;
    eprintln!("--- {shown}: {} s", began.elapsed().as_secs());
    if !status.success() {
        bail!("`{shown}` failed");
    }
    Ok(())
}

/// What cargo says of this package to the programs that it runs would make some build scripts run again, and with them half of
/// the workspace.
fn plain_cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
        {
            command.env_remove(name);
        }
    }
    command
}
