//! A process whose clock is wrong: libfaketime before its C library, and a file that says how wrong.
//!
//! Usually only the wall clock is: it jumps and drifts while the monotonic one goes on, as when somebody sets the time of a
//! machine. What the library does not do well:
//!
//! - While only the wall clock is faked, a wait that is given a moment of the monotonic clock (`clock_nanosleep` with
//!   `TIMER_ABSTIME`, as Python's `sleep`) fails, and a sleep or poll that is given a duration takes the drift with it: at
//!   20 % too fast, `thread::sleep` of 200 ms ends after 170. tokio looks at the clock again when it wakes, and waits on.
//! - While all clocks are, the monotonic one counts from another beginning than the kernel's, and waits that Rust's library
//!   gives to the kernel as moments (`Condvar::wait_timeout`, `park_timeout`, `recv_timeout`) do not end. tokio's do.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};

const LIBRARY: &str = "faketime/libfaketimeMT.so.1";
const MILLION: i128 = 1_000_000;

/// Which clocks of the process are wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hands {
    /// The wall clock.
    Wall,
    /// The monotonic clock too. It jumps as well, which no real one does: meant for drift, of programs that wait with tokio
    /// alone.
    All,
}

/// The clock of one process.
pub struct Clock {
    library: PathBuf,
    file: PathBuf,
    hands: Hands,
    offset_us: i64,
    drift_ppm: i32,
    /// The library counts drift from when its process began.
    began: Instant,
}

/// Whether clocks can be wrong here; if not, why not, in a sentence.
pub fn is_possible() -> Result<(), String> {
    match library() {
        Some(_) => Ok(()),
        None => Err(format!(
            "Wrong clocks need libfaketime; there is no /usr/lib/*/{LIBRARY}."
        )),
    }
}

fn library() -> Option<PathBuf> {
    let folders = ["/usr/lib", "/usr/lib64", "/usr/local/lib"].map(PathBuf::from);
    let below = folders.iter().filter_map(|folder| fs::read_dir(folder).ok());
    let below: Vec<_> = below.flatten().flatten().map(|entry| entry.path()).collect();
    folders
        .into_iter()
        .chain(below)
        .map(|folder| folder.join(LIBRARY))
        .find(|path| path.is_file())
}

impl Clock {
    /// A clock that is right so far; what it says is kept in this folder, which no other clock may use.
    pub fn make(folder: &Path, hands: Hands) -> Result<Self> {
        let clock = Self {
            library: library().context("libfaketime is not installed")?,
            file: folder.join("faketime"),
            hands,
            offset_us: 0,
            drift_ppm: 0,
            began: Instant::now(),
        };
        clock.write()?;
        Ok(clock)
    }

    /// Lets a command see this clock. To be called for each process anew, just before it is started: it goes on with the
    /// error that the one before had come to.
    pub fn dress(&mut self, command: &mut Command) -> Result<()> {
        self.offset_us = self.error_us();
        self.began = Instant::now();
        self.write()?;
        command.envs(self.environment());
        Ok(())
    }

    /// Moves the hands by so much.
    pub fn jump(&mut self, by_ms: i64) -> Result<()> {
        self.offset_us += by_ms * 1000;
        self.write()
    }

    /// From now on the clock gains so many microseconds in each second, or loses them. It does not jump.
    pub fn drift(&mut self, ppm: i32) -> Result<()> {
        let error_us = self.error_us();
        self.drift_ppm = ppm;
        self.offset_us = error_us - self.drifted_us();
        self.write()
    }

    /// Right again, at one stroke.
    pub fn heal(&mut self) -> Result<()> {
        (self.offset_us, self.drift_ppm) = (0, 0);
        self.write()
    }

    /// How far it is off at present, in milliseconds.
    pub fn error_ms(&self) -> i64 {
        self.error_us() / 1000
    }

    fn error_us(&self) -> i64 {
        self.offset_us + self.drifted_us()
    }

    fn drifted_us(&self) -> i64 {
        let since_us = self.began.elapsed().as_micros() as i128;
        (since_us * i128::from(self.drift_ppm) / MILLION) as i64
    }

    fn environment(&self) -> Vec<(&'static str, OsString)> {
        let mut preload = self.library.clone().into_os_string();
        if let Some(others) = env::var_os("LD_PRELOAD").filter(|others| !others.is_empty()) {
            preload.push(":");
            preload.push(others);
        }
        let mut all = vec![
            ("LD_PRELOAD", preload),
            ("FAKETIME_TIMESTAMP_FILE", self.file.clone().into_os_string()),
            // Read at each look at the clock: some 3 µs, and a jump is seen at once.
            ("FAKETIME_NO_CACHE", "1".into()),
            ("NO_FAKE_STAT", "1".into()),
        ];
        if self.hands == Hands::Wall {
            all.push(("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()));
            all.push(("DONT_FAKE_MONOTONIC", "1".into())); // its older name
        }
        all
    }

    /// All at once: the process may look at any moment. The rate is always there, because the library does not forget one.
    fn write(&self) -> Result<()> {
        let sign = if self.offset_us < 0 { '-' } else { '+' };
        let (offset_s, offset_us) = (self.offset_us.abs() / 1_000_000, self.offset_us.abs() % 1_000_000);
        let rate = 1.0 + f64::from(self.drift_ppm) / 1_000_000.0;
        let new = self.file.with_extension("new");
        fs::write(&new, format!("{sign}{offset_s}.{offset_us:06} x{rate:.6}\n"))
            .and_then(|()| fs::rename(&new, &self.file))
            .with_context(|| format!("to set the clock {}", self.file.display()))
    }
}
