//! A place in which networks and mounts can be made and broken, and of which nothing is left afterwards.
//!
//! The harness runs itself again inside fresh namespaces of its own (network, mounts, processes). Its first process there
//! is a shell that waits for it and buries orphans; when that shell goes, the kernel ends everything in the lab and takes
//! devices, routes, rules and mounts with it. The shell goes when the harness is done, and when the process outside dies,
//! however it dies.
//!
//! What a lab does not have: a way to the world, name resolution, other addresses than its own.

pub mod clock;
pub mod disk;
pub mod net;

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Holds the name of the network namespace outside. Inside, it differs from one's own.
const MARKER: &str = "KAIWA_LAB";

const NAMESPACES: [&str; 6] = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];

/// What the first process of the lab does. That it ends with `exit` keeps it from becoming the harness, which would then be
/// process 1: deaf to signals, and nobody to bury orphans. Shared memory is the lab's own because libfaketime names its
/// pieces by process numbers, which each lab counts anew, and never removes those of a killed process.
const FIRST_PROCESS: &str = r#"set -e
mkdir -p /run/netns
mount -t tmpfs -o mode=755 lab /run/netns
mount -t tmpfs lab /dev/shm
ip link set lo up
set +e
"$@"
exit $?"#;

/// Runs this program again inside a lab, with the same arguments, and ends with its status; inside, returns at once. To be
/// called before anything else, on the main thread: the lab ends with the thread that made it.
pub fn enter() -> Result<()> {
    if is_inside()? {
        return Ok(());
    }
    is_possible().map_err(anyhow::Error::msg)?;
    let status = in_fresh_namespaces(&own_name_space()?)
        .arg(env::current_exe().context("to find this program again")?)
        .args(env::args_os().skip(1))
        .status()
        .context("to start the lab")?;
    let signal = status.signal().map(|number| 128 + number);
    std::process::exit(status.code().or(signal).unwrap_or(1))
}

/// Whether this process is inside a lab.
pub fn is_inside() -> Result<bool> {
    let here = own_name_space()?;
    Ok(env::var_os(MARKER).is_some_and(|outside| outside != here))
}

/// Whether a lab can be made here; if not, why not, in a sentence.
pub fn is_possible() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("A lab needs root, and this is not root.".into());
    }
    for name in ["setpriv", "unshare", "nsenter", "mount", "ip", "ss", "nft"] {
        if !is_installed(name) {
            return Err(format!("A lab needs `{name}`, which is not installed."));
        }
    }
    if !Path::new("/dev/net/tun").exists() {
        return Err("A lab needs /dev/net/tun, which is not there.".into());
    }
    let trial = in_fresh_namespaces(OsStr::new("trial"))
        .args(["nft", "list", "tables"])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("A lab cannot be started: {error}."))?;
    if !trial.status.success() {
        let said = String::from_utf8_lossy(&trial.stderr);
        return Err(format!("The kernel refuses a lab: {}.", said.trim()));
    }
    Ok(())
}

fn is_installed(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

/// The command that makes the namespaces; to be followed by what runs in them. `unshare` is deaf to SIGINT and SIGTERM
/// while it waits, so that this process stays in front of it, and takes it along when it dies.
fn in_fresh_namespaces(outside: &OsStr) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "unshare"])
        .args(NAMESPACES)
        .args(["sh", "-c", FIRST_PROCESS, "lab"])
        .env(MARKER, outside);
    command
}

fn own_name_space() -> Result<OsString> {
    let link = std::fs::read_link("/proc/self/ns/net").context("to see which network namespace this is")?;
    Ok(link.into_os_string())
}

/// Runs a command to its end, with this as its input, and returns what it printed.
pub(crate) fn run(mut command: Command, input: &str) -> Result<String> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("to start {command:?}"))?;
    let mut stdin = child.stdin.take().context("a pipe to the child")?;
    let written = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child
        .wait_with_output()
        .with_context(|| format!("to wait for {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}\n{input}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    written.with_context(|| format!("to write to {command:?}"))?; // after its own words, which say more
    String::from_utf8(output.stdout).context("output that is text")
}
