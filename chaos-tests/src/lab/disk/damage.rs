//! Damage to the data folder of a node that is stopped: rot, zeros, torn tails.
//!
//! ```text
//!   <data>/identity                          Target::Identity
//!   <data>/shards/<n>/log/wal/r-….wal        Target::LogRecords: whole records follow, so nobody takes it for a torn tail
//!                                            Target::LogLastRecord: looks like a torn tail, and is an acknowledged record
//!   <data>/shards/<n>/snapshots/….snapshot   Target::Snapshot, the newest
//!   <data>/rows/sled/db                      Target::Rows
//! ```
//!
//! A seed names the place. What was done is given back, and can be undone.

mod records;

use std::fs::{self, File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Places tried before a file counts as having nothing to damage (holes and zeros).
const TRIES: usize = 10_000;

/// What to damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Inside the log of a shard, with whole records behind it.
    LogRecords {
        /// Whose.
        shard: u32,
    },
    /// The last record of a shard's log.
    LogLastRecord {
        /// Whose.
        shard: u32,
    },
    /// The newest snapshot of a shard.
    Snapshot {
        /// Whose.
        shard: u32,
    },
    /// sled's file.
    Rows,
    /// Which cluster, which replicas.
    Identity,
}

/// What was done: at `offset`, `before` became `after`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Relative to the data folder.
    pub path: PathBuf,
    /// Where in the file.
    pub offset: u64,
    /// What was there; empty when something was appended.
    pub before: Vec<u8>,
    /// What is there now; empty when the tail was cut off.
    pub after: Vec<u8>,
}

impl Damage {
    /// Puts back what was there.
    pub fn undo(&self, data: &Path) -> Result<()> {
        change(data, &self.path, self.offset, &self.after, &self.before)
    }
}

fn dice(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// Flips one bit, somewhere in the target.
pub fn flip_bit(data: &Path, target: Target, seed: u64) -> Result<Damage> {
    let mut dice = dice(seed);
    let bit = 1 << dice.random_range(0..8);
    strike(data, target, &mut dice, 1, |byte| byte ^ bit)
}

/// Sets up to `bytes` bytes to zero, somewhere in the target.
pub fn zero(data: &Path, target: Target, bytes: u64, seed: u64) -> Result<Damage> {
    strike(data, target, &mut dice(seed), bytes, |_| 0)
}

/// Cuts the last `bytes` bytes off the target's file.
///
/// Of a log these are acknowledged records: the replica has lost them, and cannot know.
pub fn cut_tail(data: &Path, target: Target, bytes: u64) -> Result<Damage> {
    let (path, _) = place(data, target)?;
    let length = fs::metadata(data.join(&path))?.len();
    let offset = length.saturating_sub(bytes);
    let before = read(&data.join(&path), offset..length)?;
    apply(data, path, offset, before, Vec::new())
}

/// Appends a part of a record to a shard's log, as a write that the power cut in two leaves it: nothing acknowledged is
/// touched.
pub fn torn_write(data: &Path, shard: u32, seed: u64) -> Result<Damage> {
    let (path, last) = place(data, Target::LogLastRecord { shard })?;
    let mut dice = dice(seed);
    let mut torn = read(&data.join(&path), last.clone())?;
    torn.truncate(1 + dice.random_range(0..last.end - last.start - 1) as usize);
    apply(data, path, last.end, Vec::new(), torn)
}

/// Appends zeros to a shard's log, as a file system leaves it that wrote the length and not the bytes.
pub fn torn_zeros(data: &Path, shard: u32, seed: u64) -> Result<Damage> {
    let (path, last) = place(data, Target::LogLastRecord { shard })?;
    let zeros = vec![0; 1 + dice(seed).random_range(0..8192)];
    apply(data, path, last.end, Vec::new(), zeros)
}

/// Changes some bytes of the target, at a place where that makes a difference.
fn strike(data: &Path, target: Target, dice: &mut ChaCha8Rng, bytes: u64, to: impl Fn(u8) -> u8) -> Result<Damage> {
    let (path, range) = place(data, target)?;
    let full = data.join(&path);
    for _ in 0..TRIES {
        let offset = range.start + dice.random_range(0..range.end - range.start);
        let before = read(&full, offset..(offset + bytes.max(1)).min(range.end))?;
        // Where there are only zeros, nothing may ever have been written.
        if before.iter().all(|byte| *byte == 0) {
            continue;
        }
        let after = before.iter().map(|byte| to(*byte)).collect();
        return apply(data, path, offset, before, after);
    }
    anyhow::bail!("{} holds nothing but zeros", full.display())
}

/// The file of a target, and the part of it that counts.
fn place(data: &Path, target: Target) -> Result<(PathBuf, Range<u64>)> {
    let (path, range) = match target {
        Target::LogRecords { shard } => log_records(data, shard)?,
        Target::LogLastRecord { shard } => {
            let chunks = newest_first(data, &log_folder(shard), "wal")?;
            let path = chunks.into_iter().next().context("there is no chunk")?;
            let last = records::find(&fs::read(data.join(&path))?).pop();
            (path, last.context("the newest chunk holds no record")?)
        }
        Target::Snapshot { shard } => {
            let folder = Path::new("shards").join(shard.to_string()).join("snapshots");
            let path = newest_first(data, &folder, "snapshot")?.into_iter().next();
            whole(data, path.context("there is no snapshot")?)?
        }
        Target::Rows => whole(data, "rows/sled/db".into())?,
        Target::Identity => whole(data, "identity".into())?,
    };
    ensure!(!range.is_empty(), "{} is empty", path.display());
    Ok((path, range))
}

fn log_records(data: &Path, shard: u32) -> Result<(PathBuf, Range<u64>)> {
    let mut is_newest = true;
    for path in newest_first(data, &log_folder(shard), "wal")? {
        let records = records::find(&fs::read(data.join(&path))?);
        if let [first, .., last] = &records[..] {
            // The last record of an older chunk has others behind it.
            let end = if is_newest { last.start } else { last.end };
            return Ok((path, first.start..end));
        }
        is_newest = false;
    }
    anyhow::bail!("the log of shard {shard} holds fewer than two records")
}

fn log_folder(shard: u32) -> PathBuf {
    Path::new("shards").join(shard.to_string()).join("log/wal")
}

fn whole(data: &Path, path: PathBuf) -> Result<(PathBuf, Range<u64>)> {
    let length = fs::metadata(data.join(&path))
        .with_context(|| path.display().to_string())?
        .len();
    Ok((path, 0..length))
}

/// Files by name; chunks and snapshots are numbered so that the newest is the last.
fn newest_first(data: &Path, folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(data.join(folder)).with_context(|| folder.display().to_string())?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = folder.join(entry?.file_name());
        if path.extension().is_some_and(|found| found == extension) {
            paths.push(path);
        }
    }
    paths.sort_by(|one, other| other.cmp(one));
    Ok(paths)
}

fn read(path: &Path, range: Range<u64>) -> Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(range.end - range.start)?];
    File::open(path)?.read_exact_at(&mut bytes, range.start)?;
    Ok(bytes)
}

fn apply(data: &Path, path: PathBuf, offset: u64, before: Vec<u8>, after: Vec<u8>) -> Result<Damage> {
    ensure!(before != after, "{} would stay as it is", path.display());
    change(data, &path, offset, &before, &after)?;
    Ok(Damage {
        path,
        offset,
        before,
        after,
    })
}

fn change(data: &Path, path: &Path, offset: u64, from: &[u8], to: &[u8]) -> Result<()> {
    let path = data.join(path);
    let file = OpenOptions::new().write(true).open(&path)?;
    let length = file.metadata()?.len();
    let end = offset + from.len() as u64;
    ensure!(
        from.len() == to.len() || end == length,
        "{} is {length} bytes long, not {end}",
        path.display()
    );
    file.write_all_at(to, offset)?;
    if from.len() != to.len() {
        file.set_len(offset + to.len() as u64)?;
    }
    Ok(file.sync_all()?)
}

#[cfg(test)]
mod tests;
