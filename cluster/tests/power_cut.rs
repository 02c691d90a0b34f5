//! Power cuts: what a log or the rows acknowledged is there afterwards.
//!
//! A writer, in a process of its own, works on an ext4 file system in an image file and says what it was promised. It is
//! stopped in the midst of it, and the image is copied: the copy is what the disk holds if the power fails now, without
//! anything that is still in the page cache of the file system. The copy is mounted, and read by another process.
//!
//! Needs root, `mkfs.ext4` and loop devices; says so loudly when it cannot run.

mod power_cut {
    pub mod disk;
    pub mod roles;
}

use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use power_cut::disk::{ImageDisk, why_not_possible};
use power_cut::roles::{self, FOLDER, ROLE};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

const CUTS: u64 = 10;
const DEADLINE: Duration = Duration::from_secs(60);

/// Not a test: what the child processes of this binary do.
#[test]
fn child() {
    if let (Ok(role), Ok(folder)) = (std::env::var(ROLE), std::env::var(FOLDER)) {
        roles::play(&role, Path::new(&folder));
    }
}

#[test]
fn a_power_cut_takes_nothing_acknowledged_from_the_log() {
    cut_the_power("log", 1);
}

#[test]
fn a_power_cut_takes_no_row_behind_a_barrier() {
    cut_the_power("rows", 2);
}

fn cut_the_power(what: &str, seed: u64) {
    if let Some(reason) = why_not_possible() {
        let _ = writeln!(
            io::stderr(),
            "\n!!! SKIPPED: the power-cut test of the {what} did not run: {reason} !!!\n"
        );
        return;
    }
    let mut random = SmallRng::seed_from_u64(seed);
    let disk = ImageDisk::create(256 << 20);
    let mut lost_controls = 0;
    for cut in 0..CUTS {
        let name = format!("run-{cut}");
        // Early cuts find new files and folders, late ones changes of file.
        let wanted = if cut < 4 { cut } else { random.random_range(10..150) };
        let mut writer = Writer::start(what, &disk.folder().join(&name), cut);
        let promised = writer.run_until(wanted);
        // Never synced, so it must not survive: otherwise these were no power cuts.
        std::fs::write(disk.folder().join(format!("control-{cut}")), "unsynced").unwrap();
        let promised = writer.stop(promised);
        let copy = disk.copy_as_if_the_power_failed();
        drop(writer);
        let control = std::fs::read(copy.folder().join(format!("control-{cut}")));
        lost_controls += u64::from(control.map_or(true, |content| content != b"unsynced"));
        let found = read_back(what, &copy.folder().join(&name), cut);
        for (kind, promised) in &promised {
            let found = found.iter().find(|(found, _)| found == kind).map(|(_, number)| *number);
            assert!(
                found >= Some(*promised),
                "{what}, cut {cut}: {kind} {promised} was acknowledged, found {found:?}"
            );
        }
        std::fs::remove_dir_all(disk.folder().join(&name)).unwrap();
    }
    assert!(
        lost_controls >= CUTS / 2,
        "only {lost_controls} of {CUTS} cuts lost what was not synced: no power cuts"
    );
}

/// Kind and number, as `entries 17`.
type Promises = Vec<(String, u64)>;

/// A process that writes, and prints a line for whatever it was acknowledged.
struct Writer {
    child: Child,
    lines: Receiver<(String, u64)>,
}

impl Writer {
    fn start(what: &str, folder: &Path, cut: u64) -> Self {
        let mut child = role_command(&format!("write-{what}"), folder, cut)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = mpsc::channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            for promise in output
                .lines()
                .map_while(Result::ok)
                .filter_map(|line| roles::parse(&line))
            {
                if sender.send(promise).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// Takes in promises until there are more than `count`.
    fn run_until(&mut self, count: u64) -> Promises {
        let deadline = Instant::now() + DEADLINE;
        let mut promises = Promises::new();
        for _ in 0..=count {
            let left = deadline.saturating_duration_since(Instant::now());
            keep(
                &mut promises,
                self.lines.recv_timeout(left).expect("the writer goes on"),
            );
        }
        promises
    }

    /// Stops the process where it is, and takes in what it said before.
    fn stop(&mut self, mut promises: Promises) -> Promises {
        signal(&self.child, rustix::process::Signal::STOP);
        while let Ok(promise) = self.lines.recv_timeout(Duration::from_millis(30)) {
            keep(&mut promises, promise);
        }
        promises
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Later promises of a kind stand for the earlier ones.
fn keep(promises: &mut Promises, promise: (String, u64)) {
    promises.retain(|(kind, _)| *kind != promise.0);
    promises.push(promise);
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

fn read_back(what: &str, folder: &Path, cut: u64) -> Promises {
    let output = role_command(&format!("read-{what}"), folder, cut)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{what}, cut {cut}: {text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text.lines().filter_map(roles::parse).collect()
}

/// This binary again, in another role.
fn role_command(role: &str, folder: &Path, cut: u64) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "child", "--nocapture"])
        .env(ROLE, role)
        .env(FOLDER, folder);
    command
        .env(roles::SIZES, if cut % 5 == 4 { "large" } else { "small" })
        .stdin(Stdio::null());
    command
}
