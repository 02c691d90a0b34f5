//! How a lab ends.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chaos_tests::lab;
use chaos_tests::lab::net::{Host, Net};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// Far enough away, and found in no other process.
const NAP: &str = "86413.77";

/// A lab with a network and a sleeper in it, which says that it is ready.
pub fn hold() -> Result<()> {
    lab::enter()?;
    let net = Net::make(3)?;
    let mut sleeper = net.command_in(Host::Node(1), "sleep").arg(NAP).spawn()?;
    println!("ready");
    sleeper.wait()?;
    Ok(())
}

/// A lab that ends with a status of its own, and leaves an orphan behind.
pub fn leave() -> Result<()> {
    lab::enter()?;
    let _orphan = Command::new("sleep").arg(NAP).stdout(Stdio::null()).spawn()?;
    std::process::exit(42)
}

fn this(arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(env::current_exe()?);
    command.args(arguments);
    Ok(command)
}

/// Runs one check inside.
pub fn in_a_lab_of_its_own(name: &str) -> Result<()> {
    let status = this(&["inside", name])?.status()?;
    ensure!(status.success(), "{status}");
    Ok(())
}

pub fn killed() -> Result<()> {
    all_ends_when(|lab| {
        kill_process(pid(lab)?, Signal::KILL)?;
        Ok(())
    })
}

/// As a terminal does it: everybody in the foreground is told.
pub fn interrupted() -> Result<()> {
    all_ends_when(|lab| {
        kill_process_group(pid(lab)?, Signal::INT)?;
        Ok(())
    })?;
    all_ends_when(|lab| {
        kill_process(pid(lab)?, Signal::TERM)?;
        Ok(())
    })
}

pub fn status() -> Result<()> {
    let before = name_spaces()?;
    let status = this(&["leave"])?.status()?;
    ensure!(status.code() == Some(42), "{status}");
    until_nothing_is_left(&before)
}

fn pid(child: &Child) -> Result<Pid> {
    Pid::from_raw(i32::try_from(child.id())?).context("a process has a number")
}

fn all_ends_when(end: impl FnOnce(&Child) -> Result<()>) -> Result<()> {
    let before = name_spaces()?;
    let lab = this(&["hold"])?.process_group(0).stdout(Stdio::piped()).spawn()?;
    let mut lab = Held(lab);
    let mut said = BufReader::new(lab.0.stdout.take().context("a pipe")?);
    let mut line = String::new();
    said.read_line(&mut line)?;
    ensure!(line == "ready\n", "it said {line:?}");
    // In the middle of an exec a process has no arguments to be seen.
    until(|| Ok(sleepers()? == 1), "a sleeper in the lab")?;
    end(&lab.0)?;
    let status = lab.0.wait()?;
    ensure!(status.signal().is_some(), "it ended with {status}");
    said.read_to_string(&mut line)?; // ends when the last process that could write has ended
    until_nothing_is_left(&before)
}

/// Ends with the check, should that fail.
struct Held(Child);

impl Drop for Held {
    fn drop(&mut self) {
        let _it_may_have_ended = self.0.kill();
    }
}

/// The kernel takes namespaces apart in its own time.
fn until_nothing_is_left(before: &[String]) -> Result<()> {
    until(
        || Ok(sleepers()? == 0 && name_spaces()? == before),
        "nothing left of the lab",
    )
}

fn until(is_so: impl Fn() -> Result<bool>, what: &str) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(10);
    while !is_so()? {
        ensure!(Instant::now() < until, "not within 10 s: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Processes of a lab, seen from outside.
fn sleepers() -> Result<usize> {
    let processes = fs::read_dir("/proc")?.flatten();
    let commands = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    // By the last argument: a moment earlier it is still `nsenter`.
    let expected = format!("\0{NAP}\0");
    Ok(commands
        .filter(|command| command.ends_with(expected.as_bytes()))
        .count())
}

/// Named namespaces that can be seen from outside.
fn name_spaces() -> Result<Vec<String>> {
    let Ok(folder) = fs::read_dir("/run/netns") else {
        return Ok(Vec::new());
    };
    let names = folder.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names.collect()
}
