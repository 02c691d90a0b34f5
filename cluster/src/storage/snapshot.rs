//! Snapshot files of one shard: a checksummed header, the state, its checksum.
//!
//! ```text
//!   write <name>.partial ──► fsync ──► rename to <name>.snapshot ──► fsync the folder      published
//!                                                    │
//!                          damage found at opening ──┴──► <name>.snapshot.damaged, and the next older one is used
//! ```

mod format;

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;

use self::format::{Hashing, Header};
use super::durable_file::{FailStop, create_folder, sync_folder};
use super::{LogPosition, StorageError, measures};
use crate::limits;
use crate::state_machine::{ShardId, SnapshotWriter};

const SUFFIX: &str = "snapshot";
const PARTIAL_SUFFIX: &str = "partial";

/// What a snapshot stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotMeta {
    /// The last entry that was applied.
    pub position: LogPosition,
    /// The membership in force there; opaque here.
    pub membership: Bytes,
    /// [`crate::state_machine::StateMachine::digest`] of the state.
    pub digest: u64,
}

/// A published snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// What it stands for.
    pub meta: SnapshotMeta,
    /// The whole file, in bytes.
    pub file_bytes: u64,
    /// Where it is.
    pub path: PathBuf,
}

/// The snapshots of one shard on this node; clones are the same store.
#[derive(Clone)]
pub struct SnapshotStore {
    inner: Arc<Inner>,
}

struct Inner {
    folder: PathBuf,
    shard: ShardId,
    /// Oldest first.
    published: Mutex<Vec<SnapshotInfo>>,
    partial_count: AtomicU64,
    fail_stop: FailStop,
}

impl SnapshotStore {
    /// Opens the folder of a shard's snapshots. The newest whole one is read through once; damaged ones are set aside.
    pub fn open(folder: &Path, shard: ShardId) -> Result<Self, StorageError> {
        let failed = |source| StorageError::Io {
            folder: folder.to_owned(),
            source,
        };
        create_folder(folder).map_err(failed)?;
        let mut published = find_published(folder, shard).map_err(failed)?;
        published.sort_by_key(|info| info.meta.position);
        while let Some(newest) = published.last() {
            match verify(&newest.path, shard) {
                Ok(_) => break,
                Err(error) if format::is_damage(&error) => {
                    set_aside(&newest.path, &error).map_err(failed)?;
                    published.pop();
                }
                Err(error) => return Err(failed(error)),
            }
        }
        let inner = Inner {
            folder: folder.to_owned(),
            shard,
            published: Mutex::new(published),
            partial_count: AtomicU64::new(0),
            fail_stop: FailStop::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The newest published snapshot.
    pub fn latest(&self) -> Option<SnapshotInfo> {
        self.inner.published.lock().last().cloned()
    }

    /// Writes and publishes a snapshot; durable on return. Blocks: call it from a blocking thread.
    ///
    /// The rows up to its position must be durable before.
    pub fn publish(&self, meta: SnapshotMeta, state: SnapshotWriter) -> io::Result<SnapshotInfo> {
        self.inner.fail_stop.check()?;
        let result = self.write(meta, state);
        result.inspect_err(|error| measures::failed("snapshot_publish", error))
    }

    fn write(&self, meta: SnapshotMeta, state: SnapshotWriter) -> io::Result<SnapshotInfo> {
        let partial = Partial::create(&self.inner)?;
        let mut header = Header {
            shard: self.inner.shard,
            state_bytes: 0,
            meta,
        };
        let paced = Paced {
            file: &partial.file,
            unsynced: 0,
        };
        let mut file = BufWriter::with_capacity(256 << 10, paced);
        file.write_all(&header.encode()?)?;
        let mut hashing = Hashing::new(file);
        state(&mut hashing)?;
        let (mut file, state_bytes, checksum) = hashing.finish();
        file.write_all(&checksum.to_be_bytes())?;
        file.flush()?;
        drop(file);
        header.state_bytes = state_bytes;
        partial.file.write_all_at(&header.encode()?, 0)?;
        let file_bytes = partial.file.metadata()?.len();
        partial.publish(header.meta, file_bytes)
    }

    fn find(&self, position: LogPosition) -> io::Result<SnapshotInfo> {
        let published = self.inner.published.lock();
        let found = published.iter().find(|info| info.meta.position == position);
        found
            .cloned()
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no snapshot at {position:?}")))
    }

    /// Reads the state of a snapshot; the reader gives an error instead of the end when the checksum is wrong.
    pub fn open_reader(&self, position: LogPosition) -> io::Result<SnapshotReader> {
        let info = self.find(position)?;
        let mut file = BufReader::with_capacity(256 << 10, File::open(&info.path)?);
        let header = Header::read(&mut file, self.inner.shard)?;
        Ok(SnapshotReader {
            left: header.state_bytes,
            state: Hashing::new(file),
            is_checked: false,
        })
    }

    /// Opens the file of a snapshot for sending it; stays readable when the snapshot is pruned meanwhile.
    pub fn open_file(&self, position: LogPosition) -> io::Result<SnapshotFile> {
        let info = self.find(position)?;
        Ok(SnapshotFile {
            file: File::open(&info.path)?,
            info,
        })
    }

    /// Removes all but the newest `keep` snapshots.
    pub fn prune(&self, keep: usize) -> io::Result<()> {
        let mut published = self.inner.published.lock();
        let surplus = published.len().saturating_sub(keep);
        for info in published.drain(..surplus) {
            fs::remove_file(&info.path)?;
        }
        if surplus > 0 {
            sync_folder(&self.inner.folder)
        } else {
            Ok(())
        }
    }

    /// Renames every snapshot out of the way: the rows that belong to them are lost.
    pub fn set_all_aside(&self) -> io::Result<()> {
        let mut published = self.inner.published.lock();
        for info in published.drain(..) {
            fs::rename(&info.path, with_suffix(&info.path, "aside"))?;
        }
        sync_folder(&self.inner.folder)
    }

    /// Begins to take the file of another replica's snapshot.
    pub fn begin_receive(&self) -> io::Result<SnapshotReceiver> {
        self.inner.fail_stop.check()?;
        Ok(SnapshotReceiver {
            partial: Partial::create(&self.inner)?,
            received: 0,
        })
    }
}

/// The state of a snapshot, checked while it is read.
pub struct SnapshotReader {
    left: u64,
    state: Hashing<BufReader<File>>,
    is_checked: bool,
}

impl SnapshotReader {
    /// Reads what is left and checks it: for a user who stops at the last byte that it needs.
    pub fn finish(mut self) -> io::Result<()> {
        io::copy(&mut self, &mut io::sink()).map(drop)
    }
}

impl Read for SnapshotReader {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(to.len());
        if most > 0 {
            let count = self.state.read(&mut to[..most])?;
            if count == 0 {
                return Err(format::damaged("the state is cut short"));
            }
            self.left -= count as u64;
            return Ok(count);
        }
        if self.left == 0 && !self.is_checked {
            self.state.check_trailer()?;
            self.is_checked = true;
        }
        Ok(0)
    }
}

/// The file of a snapshot, for sending.
pub struct SnapshotFile {
    file: File,
    info: SnapshotInfo,
}

impl SnapshotFile {
    /// Which snapshot it is.
    pub fn info(&self) -> &SnapshotInfo {
        &self.info
    }

    /// Bytes from `offset` on, at most `max_bytes`; none at the end.
    pub fn read_chunk(&self, offset: u64, max_bytes: usize) -> io::Result<Bytes> {
        let left = usize::try_from(self.info.file_bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut chunk = vec![0; left.min(max_bytes)];
        self.file.read_exact_at(&mut chunk, offset)?;
        Ok(chunk.into())
    }
}

/// A snapshot that arrives; dropped unfinished, it leaves nothing.
pub struct SnapshotReceiver {
    partial: Partial,
    received: u64,
}

impl SnapshotReceiver {
    /// Takes the next chunk; `offset` must be where the last one ended.
    pub fn append_chunk(&mut self, offset: u64, chunk: &[u8]) -> io::Result<()> {
        if offset != self.received {
            let reason = format!("chunk at {offset}, but {} bytes are here", self.received);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        (&self.partial.file).write_all(chunk)?;
        self.received += chunk.len() as u64;
        Ok(())
    }

    /// Bytes taken so far.
    pub fn received_bytes(&self) -> u64 {
        self.received
    }

    /// Checks the whole file and its shard, and publishes it; durable on return.
    pub fn finish(self) -> io::Result<SnapshotInfo> {
        let verified = verify(&self.partial.path, self.partial.inner.shard);
        let meta = verified.inspect_err(|error| measures::failed("snapshot_receive", error))?;
        self.partial.publish(meta, self.received)
    }
}

/// A file that is not published yet; removed when dropped.
struct Partial {
    inner: Arc<Inner>,
    file: File,
    path: PathBuf,
}

impl Partial {
    fn create(inner: &Arc<Inner>) -> io::Result<Self> {
        let number = inner.partial_count.fetch_add(1, Ordering::Relaxed);
        let path = inner.folder.join(format!("{number}.{PARTIAL_SUFFIX}"));
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)?;
        Ok(Self {
            inner: inner.clone(),
            file,
            path,
        })
    }

    fn publish(self, meta: SnapshotMeta, file_bytes: u64) -> io::Result<SnapshotInfo> {
        let inner = &self.inner;
        let LogPosition { term, leader, index } = meta.position;
        let path = inner.folder.join(format!("{index:020}-{term}-{leader}.{SUFFIX}"));
        let started = Instant::now();
        let durable = || -> io::Result<()> {
            self.file.sync_all()?;
            fs::rename(&self.path, &path)?;
            sync_folder(&inner.folder)
        };
        durable().map_err(|error| inner.fail_stop.fail(&error))?;
        measures::fsync_took("snapshot", started.elapsed());
        let info = SnapshotInfo { meta, file_bytes, path };
        let mut published = inner.published.lock();
        published.retain(|other| other.path != info.path);
        published.push(info.clone());
        published.sort_by_key(|info| info.meta.position);
        Ok(info)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Published, it has another name by now.
        let _ = fs::remove_file(&self.path);
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

fn set_aside(path: &Path, error: &io::Error) -> io::Result<()> {
    measures::corruption("snapshot");
    tracing::error!(path = %path.display(), %error, "a snapshot is damaged; it is set aside");
    fs::rename(path, with_suffix(path, "damaged"))?;
    sync_folder(path.parent().unwrap_or(Path::new(".")))
}

/// Removes what was not finished, and reads the headers of what was.
fn find_published(folder: &Path, shard: ShardId) -> io::Result<Vec<SnapshotInfo>> {
    let mut published = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let Some(extension) = path.extension() else { continue };
        if extension == PARTIAL_SUFFIX {
            fs::remove_file(&path)?;
        } else if extension == SUFFIX {
            let mut file = File::open(&path)?;
            match Header::read(&mut file, shard) {
                Ok(header) => {
                    let file_bytes = file.metadata()?.len();
                    published.push(SnapshotInfo {
                        meta: header.meta,
                        file_bytes,
                        path,
                    });
                }
                Err(error) if format::is_damage(&error) => set_aside(&path, &error)?,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(published)
}

/// Reads a whole file and checks all of it.
fn verify(path: &Path, shard: ShardId) -> io::Result<SnapshotMeta> {
    let mut file = BufReader::with_capacity(256 << 10, File::open(path)?);
    let header = Header::read(&mut file, shard)?;
    let mut state = Hashing::new(file);
    let state_bytes = io::copy(&mut (&mut state).take(header.state_bytes), &mut io::sink())?;
    if state_bytes != header.state_bytes {
        return Err(format::damaged("the state is cut short"));
    }
    state.check_trailer()?;
    let mut file = state.into_inner();
    let end = file.stream_position()?;
    if file.seek(SeekFrom::End(0))? != end {
        return Err(format::damaged("there is something behind the checksum"));
    }
    Ok(header.meta)
}

/// Brings what it writes to disk bit by bit. Hundreds of megabytes at once would stand before every flush of the logs.
struct Paced<'a> {
    file: &'a File,
    unsynced: usize,
}

impl Write for Paced<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.unsynced += written;
        if self.unsynced >= limits::SNAPSHOT_PACE_BYTES {
            self.unsynced = 0;
            self.file.sync_data()?;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests;
